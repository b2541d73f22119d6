"""The figures of a report: one file for each question, pure functions of the runs.

`accuracy`: over generations (PCF-ES, Figure 8); `choices`: their percentages (Figures 2, 5, 12 to
14); `timing`: each generation's time by part (Figure 7); `energy`: of each generation; `costs`:
accuracy against them; `importance`: of samples (Figure 6); `chain`: the architecture that was
found; `cells`: rows of cells; `thinning`: fewer points.
"""
