"""How good a ranking is: metrics block by block, confidence intervals, the ablation table, figures."""
