"""A trained model leaves training: two ONNX files, tokenizer, pre-processing, and the release around them.

`onnx_files`, `parity` and `convert_tokenizer` need torch and open_clip; `release`, `tokenizer`,
`preprocess` and `runtime` are what search needs and import neither.
"""
