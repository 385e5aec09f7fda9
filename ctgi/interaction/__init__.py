"""MTI, the paper's Sec. 3.3: refine a vague query by asking about the first candidate that fits it.

`config` holds every choice, `budget` what a search may cost, `anchor` step 1, `refine` step 2 (Eq. 5 and 6),
`rerank` step 3 (Eq. 7), `calibration` the scale on which ξ is read, `mti` the whole, `batch` many queries.
"""
