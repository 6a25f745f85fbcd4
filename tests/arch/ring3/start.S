    .section .text.start, "ax", @progbits
    .global _start
_start:
    call program
    ud2
    .section .note.GNU-stack, "", @progbits
