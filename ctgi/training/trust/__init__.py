"""How far each caption-picture pair is to be believed, from signals that do not know the truth.

Three signals give each pair a probability of being right: the interview's own answers (`answers`), the
similarity of caption and picture under an encoder (`similarity`), and the losses of the training pairs
before each epoch (`losses`). `join` makes one number of them. `engine.train` takes numbers that stay the
same; `Weighed` is an objective whose numbers change with the losses. docs/uncertain-captions.md has the
formulas.
"""
