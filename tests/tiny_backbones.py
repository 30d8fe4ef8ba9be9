"""Random encoders of the reference's three architectures, small enough to be trained in seconds, without a network.

Each comes with its own kind of tokenizer, trained on the text given: WordPiece for BERT, byte-level BPE for the others.
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


def save_backbone(name: str, texts: list[str], folder: Path) -> Path:
    """Save a random encoder in the form of bert-base-uncased, roberta-base or distilroberta-base; return its folder."""
    import torch

    torch.manual_seed(0)
    model, tokenizer = bert(texts) if name == "bert-base-uncased" else roberta(texts, 2 if "distil" in name else 3)
    model.save_pretrained(folder / name)
    tokenizer.save_pretrained(folder / name)
    return folder / name


def bert(texts: list[str]):
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    pieces = BertWordPieceTokenizer()
    pieces.train_from_iterator(texts, vocab_size=VOCABULARY, show_progress=False)
    tokenizer = BertTokenizerFast(tokenizer_object=pieces, model_max_length=LONGEST)
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
