// Says hello, then loses its IDT and takes an exception: a triple fault.
    .include "header.inc"
    print hello
    lidt empty(%rip)
    ud2
hello: .asciz "guest: triple fault next\n"
empty: .word 0
    .quad 0
    .include "footer.inc"
