// The memory functions that the compiler calls by itself.
    .section .text, "ax", @progbits
    .code64
    .global memset, memcpy, memmove, memcmp, strlen, bcmp

memset:                         // quadwords, then the tail
    mov %rdi, %r8
    movzbl %sil, %eax
    mov $0x0101010101010101, %rcx
    imul %rcx, %rax
    mov %rdx, %rcx
    shr $3, %rcx
    rep stosq
    mov %edx, %ecx
    and $7, %ecx
    rep stosb
    mov %r8, %rax
    ret

memmove:
    mov %rdi, %rax
    sub %rsi, %rax
    cmp %rdx, %rax
    jae memcpy                  // no overlap, or the destination lies before the source
    mov %rdi, %rax
    std
    lea -1(%rsi, %rdx), %rsi
    lea -1(%rdi, %rdx), %rdi
    mov %rdx, %rcx
    rep movsb
    cld
    ret

memcpy:
    mov %rdi, %rax
    mov %rdx, %rcx
    shr $3, %rcx
    rep movsq
    mov %edx, %ecx
    and $7, %ecx
    rep movsb
    ret

bcmp:
memcmp:
    xor %eax, %eax
    mov %rdx, %rcx
    repe cmpsb                  // with rcx = 0: flags of the xor, equal
    je 1f
    movzbl -1(%rdi), %ecx
    movzbl -1(%rsi), %eax
    sub %ecx, %eax
1:  ret

strlen:
    xor %eax, %eax
    cmpb $0, (%rdi)
    je 2f
1:  inc %rax
    cmpb $0, (%rdi, %rax)
    jne 1b
2:  ret

    .section .note.GNU-stack, "", @progbits
