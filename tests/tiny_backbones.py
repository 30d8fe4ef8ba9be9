"""Random encoders of the reference's three architectures, and of others, small enough to be trained in seconds, without
a network.

Each comes with a tokenizer that is trained on the text given: byte-level BPE for RoBERTa, WordPiece for the others.
"""

from pathlib import Path

SIZES = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64}
VOCABULARY = 600
LONGEST = 128
ROBERTA_TOKENS = {
    "bos_token": "<s>",
    "eos_token": "</s>",
    "sep_token": "</s>",
    "cls_token": "<s>",
    "unk_token": "<unk>",
    "pad_token": "<pad>",
    "mask_token": "<mask>",
}
# What they need beside SIZES. ALBERT's layers and DeBERTa's projections share their matrices.
OTHERS = {
    "albert": {"embedding_size": 16},
    "deberta-v2": {
        "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "share_att_key": True, "type_vocab_size": 0,
        "position_biased_input": False, "position_buckets": 16, "norm_rel_ebd": "layer_norm"
    },
    "distilbert": {"dim": 32, "hidden_dim": 64, "n_layers": 2, "n_heads": 2},
    "electra": {"embedding_size": 16},
    "longformer": {"attention_window": 8},
    "squeezebert": {"embedding_size": 32},
    "t5": {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2, "decoder_start_token_id": 0},
}  # fmt: skip


def save_backbone(name: str, texts: list[str], folder: Path) -> Path:
    """Save a random encoder in the form of bert-base-uncased, roberta-base or distilroberta-base; return its folder."""
    import torch

    torch.manual_seed(0)
    model, tokenizer = bert(texts) if name == "bert-base-uncased" else roberta(texts, 2 if "distil" in name else 3)
    model.save_pretrained(folder / name)
    tokenizer.save_pretrained(folder / name)
    return folder / name


def other_config(architecture: str, **settings):
    """Return the configuration of a small encoder of another architecture, by its name in transformers."""
    from transformers import AutoConfig

    common = {"vocab_size": VOCABULARY, "num_hidden_layers": 2, "max_position_embeddings": LONGEST + 2}
    return AutoConfig.for_model(architecture, **SIZES | common | OTHERS.get(architecture, {}) | settings)


def save_other(architecture: str, texts: list[str], folder: Path, **settings) -> Path:
    """Save a random encoder of another architecture, whose tokenizer names no longest text; return its folder."""
    from transformers import AutoModel

    tokenizer = word_pieces(texts)
    AutoModel.from_config(other_config(architecture, **settings)).save_pretrained(folder / architecture)
    tokenizer.save_pretrained(folder / architecture)
    return folder / architecture


def word_pieces(texts: list[str], **settings):
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertTokenizerFast

    pieces = BertWordPieceTokenizer()
    pieces.train_from_iterator(texts, vocab_size=VOCABULARY, show_progress=False)
    return BertTokenizerFast(tokenizer_object=pieces, **settings)


def bert(texts: list[str]):
    from transformers import BertConfig, BertModel

    tokenizer = word_pieces(texts, model_max_length=LONGEST)
    config = BertConfig(vocab_size=len(tokenizer), num_hidden_layers=2, max_position_embeddings=LONGEST, **SIZES)
    return BertModel(config), tokenizer


def roberta(texts: list[str], num_hidden_layers: int):
    from tokenizers import ByteLevelBPETokenizer
    from tokenizers.processors import RobertaProcessing
    from transformers import RobertaConfig, RobertaModel, RobertaTokenizerFast

    pieces = ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    pieces.train_from_iterator(texts, vocab_size=VOCABULARY, special_tokens=special, show_progress=False)
    pieces.post_processor = RobertaProcessing(("</s>", 2), ("<s>", 0), trim_offsets=True, add_prefix_space=False)
    tokenizer = RobertaTokenizerFast(tokenizer_object=pieces, model_max_length=LONGEST, **ROBERTA_TOKENS)
    # RoBERTa counts positions from the padding's id on, hence two more than tokens.
    config = RobertaConfig(vocab_size=len(tokenizer), num_hidden_layers=num_hidden_layers, type_vocab_size=1,
                           max_position_embeddings=LONGEST + 2, **SIZES)  # fmt: skip
    return RobertaModel(config), tokenizer
