"""What happens in a step.

- ``updates``: who updates a parameter, and with which numbers
- ``matrices``: updates that look at whole matrices
- ``sharded``: parameters that are spread over processes, and what these tell each other
- ``scaling``: the gradients' norm, and what the update multiplies them by
- ``totals``: sums that come before the update, over processes and over all parameters
- ``stats``: what a step did to each parameter
- ``travel``: parameters that are elsewhere between steps
- ``unchanged``: whether everything is as in the step before
- ``interrupts``: Ctrl-C waits for the end of a step; ``outside``: ``torch.compile`` goes around it
- ``members``: the parameters, each with its rule and state
- ``plan``: who updates what, made once and run in every step; it uses all of the others
"""
