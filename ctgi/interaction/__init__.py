"""MTI, the paper's Sec. 3.3, and what goes beyond it (docs/interaction.md).

A search: `config` holds every choice, `budget` what it may cost, `anchor` and `judging` step 1, `refine` step
2 (Eq. 5 and 6), `rerank` and `scoring` step 3 (Eq. 7), `calibration` the scale on which ξ is read, `mti` the
whole, `outcome` what comes back, `batch` many queries, `memory` what many settings share.
Dossiers: `enrol` asks pictures, `answers` reads what they say, `dossier` and `dossier_store` hold it,
`temperature` calibrates it. `vocabulary`, `doubt`, `witness` and `query_reader` read texts, `soft` and
`persons` judge, `explain` says why.
A conversation: `questions` which is worth asking, `converse` the dialogue, `rehearsal` its measurement.
"""
