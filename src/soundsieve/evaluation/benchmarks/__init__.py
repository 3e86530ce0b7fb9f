"""Benchmarks as data: published lists of mixtures, read into one neutral form.

`example` is that form; `tables` reads CSV files; one module for each family of lists (`clapsep`, `audiosep`, `dcase`,
`flowsep`, `voicebank`, and `plain`, this project's own); `recordings` finds and reads the audio; `mixing` makes the
mixtures; `registry` names every benchmark, with where its audio comes from and what published systems score.
"""
