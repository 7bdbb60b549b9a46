"""A book as audio: `python -m ptts_jax.book INPUT -o book.m4b`.

contents   what a book is made of: chapters of blocks
epub, html, markdown, plain   from files to that; reading chooses
plan       from blocks to what is said at once, in which voice, and the pauses between
ledger     what is spoken already, sentence by sentence, on disk
sound      a chapter's samples, at a loudness, and where each sentence lies in them
writing    one file with chapter marks, or a file for each chapter; subtitles
overlays   an EPUB 3 that lights up what is said
report     what was left out and what was hard to say
"""
