// The root task's entry: the boot page's address is in rdi, the stack is set by the kernel.
    .section .text.start, "ax"
    .globl _start
    .type _start, @function
_start:
    xorl %ebp, %ebp
    andq $-16, %rsp
    call horos_root_start
    ud2
    .size _start, . - _start
    .section .note.GNU-stack, "", @progbits
