// Says hello, then touches the test device that makes its monitor crash.
    .include "header.inc"
    print hello
    mov $0x5fc, %dx
    out %al, %dx
3:  hlt
    jmp 3b
hello: .asciz "guest: crashing its monitor\n"
    .include "footer.inc"
