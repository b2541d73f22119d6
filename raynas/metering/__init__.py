"""The price of a search, on every machine that works: busy seconds, GPU hours, joules and grams.

Each process that works reads the counters of its own machine; the driver compares what all of them
say before and after a piece of work. A counter belongs to a host and a device, so that processes
that share one count it once. What cannot be read is named, and never guessed; where the user states
the power of a machine, that is estimated and called so.

`settings`: the carbon intensity, and powers that the user states; `gauges`: the interface of a
counter or a power sensor; `rapl`: processor packages; `nvml`: NVIDIA GPUs; `tallies`: from raw
readings to joules, and the seconds of which nothing is known; `sampler`: a machine's gauges, read
often enough; `spending`: what every device used between two moments; `bills`: joules, hours and
grams of a piece of work and of a whole run; `meter`: the meter of a search.
"""
