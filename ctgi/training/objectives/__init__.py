"""What a batch is worth: SDM alone, IRRA in full, RDE in full. `build.build_objective` makes them by name.

An objective is a torch module, its own parameters trained and stored with the encoder's, called as
`objective(encoder, batch)`. It returns named scalar losses whose sum is minimised; every pair's part in them
is multiplied by `batch.weight`. What it compares is gathered from all processes, and the mean of its losses
over the processes is the loss of the whole batch.

One that judges its training pairs anew before each epoch has two methods more: `pair_losses(encoder, batch)`,
(B, S), of every batch of the training set without augmentation, and `observe(losses, epoch)`, called with
those of all pairs, (N, S) in the order of their numbers. What comes of it is kept in buffers, hence in every
checkpoint. A false attribute `observing` spares it both.
"""
