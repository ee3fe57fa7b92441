"""What happens in a step.

- ``member``: one parameter with all that its update needs
- ``sharded``: parameters that are spread over processes, and what these tell each other
- ``scalars``: the numbers of an update that are the same for all elements
- ``by_lists``, ``by_reference``: who gets no kernel
- ``choice``: who gets one
- ``gradients``, ``gradient_scaling``: their norm, and what the update multiplies them by
- ``stats``: what a step did to each parameter
- ``row_batch``, ``rows``: sparse gradients
- ``travel``: parameters that are elsewhere between steps
- ``unchanged``: whether everything is as in the step before
- ``interrupts``: Ctrl-C waits for the end of a step; ``outside``: ``torch.compile`` goes around it
- ``plan``: who updates what, made once and run in every step; it uses all of the others
"""
