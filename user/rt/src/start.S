// Entry of a program's first thread: the start page's address is in rdi, the stack is set.
    .section .text.start, "ax"
    .globl _start
    .type _start, @function
_start:
    xorl %ebp, %ebp
    andq $-16, %rsp
    call horos_program_start
    ud2
    .size _start, . - _start

// Entry of the others (rt::start_thread): rdi points to a function and its argument.
    .globl horos_thread_entry
    .type horos_thread_entry, @function
horos_thread_entry:
    xorl %ebp, %ebp
    andq $-16, %rsp
    call horos_thread_start
    ud2
    .size horos_thread_entry, . - horos_thread_entry
    .section .note.GNU-stack, "", @progbits
