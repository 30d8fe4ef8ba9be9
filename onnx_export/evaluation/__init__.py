"""The library of compare.py, quality_gate.py and ship.py: metrics, reports, the model card, and the gate."""
