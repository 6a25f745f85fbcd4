// Says hello, then spins with interrupts off: never exits by itself.
    .include "header.inc"
    print hello
    cli
3:  jmp 3b
hello: .asciz "guest: hanging\n"
    .include "footer.inc"
