"""Reports of searches, made from their records alone: the only room with matplotlib and jinja2.

`read`: the records of a run directory, read without touching them; `liveness`: whether somebody
still writes them; `runs`: as much of them as can be read, and what is wrong; `facts`: what was
found, and the table of runs; `spending`: where time and energy went; `settings`: what reproduces a
run; `units`: numbers in words; `palette`: colours, markers and lines; `drawing`: figures as files
and as parts of a page; `figures`: one file for each question; `page`: the report itself.
"""
