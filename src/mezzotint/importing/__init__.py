"""Checkpoints of masked diffusion models published elsewhere (MDLM, SDTT, DiDi-Instruct) become runs.

source.py      which files a path means, told apart by their contents       (no torch, as settings.py and inert.py)
inert.py       which globals a pickled file may name, and what stands in for them
pickled.py     a Lightning .ckpt, read so that nothing in it can run
settings.py    what a configuration says of a network, and refusals of what is no masked diffusion model
weights.py     which set of weights is taken, and their names there and here
tokenizer.py   a tokenizer of GPT-2's kind
checkpoint.py  all of it together
"""
