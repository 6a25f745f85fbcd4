// The server of the call benchmark: answers every call with what it was sent. Copied into a page
// of its own domain, so it may not refer to anything outside. The endpoint is its selector 1.
    .section .rodata, "a"
    .globl bench_server_begin, bench_server_end
bench_server_begin:
    movl $1, %edi
    movl $42, %eax        // reply_receive
    syscall
    movq %rdi, %rsi       // the words of the call are the answer
    movq %rsi, %rdx
    jmp bench_server_begin
bench_server_end:
    .section .note.GNU-stack, "", @progbits
