// SYSCALL's way into the kernel, and the ways out to ring 3. The other ways in are in traps.S.
#include "asm_offsets.h"

    .section .text.entry, "ax", @progbits
    .code64

    .macro load_registers_but_rax from
    mov RG_RBX(\from), %rbx
    mov RG_RBP(\from), %rbp
    mov RG_R12(\from), %r12
    mov RG_R13(\from), %r13
    mov RG_R14(\from), %r14
    mov RG_R15(\from), %r15
    mov RG_RDX(\from), %rdx
    mov RG_RDI(\from), %rdi
    mov RG_RSI(\from), %rsi
    mov RG_R8(\from), %r8
    mov RG_R9(\from), %r9
    mov RG_R10(\from), %r10
    .endm
    .macro resume_with_registers // of the thread at rax, which stopped in a hypercall
    load_registers_but_rax %rax
    mov RG_RFLAGS(%rax), %r11
    mov RG_RSP(%rax), %rsp
    mov RG_RIP(%rax), %rcx
    mov RG_RAX(%rax), %rax
    swapgs
    sysretq
    .endm

// SYSCALL: rcx = return address, r11 = flags, number in rax. The C handler keeps rbx rbp r12-r15,
// so they are stored only when the core switches threads.
    .balign 64
    .global syscall_entry
syscall_entry:
    swapgs
    cmp $CALL_NUMBER, %rax
    je call_fast
    cmp $REPLY_RECEIVE_NUMBER, %rax
    je reply_receive_fast
    mov %rsp, %gs:PC_USER_RSP
    mov %gs:PC_KERNEL_RSP, %rsp
    push %rcx
    push %r11
    lock btsl $0, kernel_lock_word
    jc 5f
1:  mov hypercall_count, %r11d
    mov %r10, %rcx
    cmp %r11, %rax
    jae 6f
    call *hypercall_table(, %rax, 8)
2:  test $RESULT_VALUES | RESULT_SWITCH, %eax
    jnz 4f
    mov %rax, %rdx
    shr $RESULT_VALUE_SHIFT, %rdx
    movzbl %al, %eax
    xor %edi, %edi
    xor %esi, %esi
    xor %r8d, %r8d
    xor %r9d, %r9d
    xor %r10d, %r10d
    // SYSRET to a non-canonical address would fault in ring 0. It cannot be: the last block below the
    // hole is never mapped (user_end), so no SYSCALL lies there.
3:  movl $0, kernel_lock_word
    pop %r11
    pop %rcx
    mov %gs:PC_USER_RSP, %rsp
    swapgs
    sysretq

4:  test $RESULT_SWITCH, %eax
    jnz switch_thread
    mov %gs:PC_RESULTS, %rcx
    movzbl %al, %eax
    mov (%rcx), %rdx
    mov 8(%rcx), %rdi
    mov 16(%rcx), %rsi
    mov 24(%rcx), %r8
    mov 32(%rcx), %r9
    mov 40(%rcx), %r10
    jmp 3b
5:  call kernel_lock_wait
    jmp 1b
6:  call hypercall_unknown
    jmp 2b

// The caller does not simply go on: keep what only the processor holds.
switch_thread:
    mov %gs:PC_REGS, %rcx
    mov %rbx, RG_RBX(%rcx)
    mov %rbp, RG_RBP(%rcx)
    mov %r12, RG_R12(%rcx)
    mov %r13, RG_R13(%rcx)
    mov %r14, RG_R14(%rcx)
    mov %r15, RG_R15(%rcx)
    mov %gs:PC_USER_RSP, %rdx
    mov %rdx, RG_RSP(%rcx)
    pop RG_RFLAGS(%rcx)
    pop RG_RIP(%rcx)
    movq $0, RG_FULL(%rcx)
    call shell_resume
    jmp resume_user

// The two calls that nearly always end with another thread in ring 3: all that the processor holds
// goes into the caller's Thread at once, and the core's entry need not keep any register.
    .macro fast_entry function
    mov %gs:PC_REGS, %r9
    mov %rsp, RG_RSP(%r9)
    mov %gs:PC_KERNEL_RSP, %rsp
    mov %rcx, RG_RIP(%r9)
    mov %r11, RG_RFLAGS(%r9)
    mov %rbx, RG_RBX(%r9)
    mov %rbp, RG_RBP(%r9)
    mov %r12, RG_R12(%r9)
    mov %r13, RG_R13(%r9)
    mov %r14, RG_R14(%r9)
    mov %r15, RG_R15(%r9)
    lock btsl $0, kernel_lock_word
    jc 2f
1:  mov %r10, %rcx
    mov %gs:PC_CORE_STATE, %r12
    mov %gs:PC_CORE, %r13d
    call \function              // does not return when another thread runs now
    jmp not_directly
2:  call kernel_lock_wait
    jmp 1b
    .endm

    .balign 64
reply_receive_fast:
    fast_entry core_reply_receive_fast
    .balign 64
call_fast:
    fast_entry core_call_fast

not_directly:
    mov %eax, %edx
    test $RESULT_SWITCH, %edx
    jnz 1f
    mov %gs:PC_REGS, %rax       // the caller goes on, with an error
    movzbl %dl, %edx
    mov %rdx, RG_RAX(%rax)
    xor %edx, %edx
    mov %rdx, RG_RDX(%rax)
    mov %rdx, RG_RDI(%rax)
    mov %rdx, RG_RSI(%rax)
    mov %rdx, RG_R8(%rax)
    mov %rdx, RG_R9(%rax)
    mov %rdx, RG_R10(%rax)
    movl $0, kernel_lock_word
    jmp resume_registers

// r12: the thread that the core has chosen to run next in ring 3, on the same time, stopped in a
// hypercall: no more than the exchange is needed. What is rare is done by shell_resume. FS base is
// written even when the number is the same: the last thread may have loaded a selector, which
// changes the base behind our back. The selectors in DS, ES, FS and GS stay as the partner left
// them: in 64-bit mode they mean nothing else, and the two communicate anyway.
    .global entry_switch
entry_switch:
    cmpq $0, %gs:PC_FPU_LIVE
    jne 4f
    mov TH_TABLES(%r12), %rcx
    mov %r12, %gs:PC_REGS
    cmp %gs:PC_CR3, %rcx
    je 2f
    mov %rcx, %gs:PC_CR3
    mov %rcx, %cr3
2:  mov RG_FS_BASE(%r12), %rax
    mov %rax, %gs:PC_FS_BASE
    mov %rax, %rdx
    shr $32, %rdx
    mov $0xc0000100, %ecx       // MSR FS_BASE
    wrmsr
    movl $0, kernel_lock_word
    mov RG_RBX(%r12), %rbx
    mov RG_RBP(%r12), %rbp
    mov RG_R13(%r12), %r13
    mov RG_R14(%r12), %r14
    mov RG_R15(%r12), %r15
    xor %eax, %eax
    mov RG_RDX(%r12), %rdx
    mov RG_RDI(%r12), %rdi
    mov RG_RSI(%r12), %rsi
    mov RG_R8(%r12), %r8
    mov RG_R9(%r12), %r9
    xor %r10d, %r10d
    mov RG_RFLAGS(%r12), %r11
    mov RG_RSP(%r12), %rsp
    mov RG_RIP(%r12), %rcx
    mov RG_R12(%r12), %r12
    swapgs
    sysretq
4:  movq $0, RG_RAX(%r12)
    movq $0, RG_R10(%r12)
    mov %gs:PC_KERNEL_RSP, %rsp
1:  call shell_resume

// rax = registers of the thread to run in ring 3; the lock is free.
    .global resume_user
resume_user:
    mov %ds, %ecx               // selectors that another thread left there are not ours to show
    mov %es, %edx
    or %ecx, %edx
    mov %fs, %ecx
    or %ecx, %edx
    mov %gs, %ecx
    or %ecx, %edx
    jnz clear_selectors
resume_clean:
    cmpq $0, RG_FULL(%rax)
    jne resume_full
resume_registers:
    resume_with_registers

resume_full:
    mov %rax, %rcx
    load_registers_but_rax %rcx
    mov %gs:PC_KERNEL_RSP, %rsp
    push $SEL_USER_DATA
    push RG_RSP(%rcx)
    push RG_RFLAGS(%rcx)
    push $SEL_USER_CODE
    push RG_RIP(%rcx)
    mov RG_RAX(%rcx), %rax
    mov RG_R11(%rcx), %r11
    mov RG_RCX(%rcx), %rcx
    swapgs
    iretq

clear_selectors:
    xor %ecx, %ecx
    mov %ecx, %ds
    mov %ecx, %es
    mov %ecx, %fs               // zeroes FS base on some processors: shell_resume's value is lost
    swapgs
    mov %ecx, %gs               // user GS base is zero anyway
    swapgs
    mov %rax, %rbx
    mov %rax, %rdi
    call shell_reload_fs_base
    mov %rbx, %rax
    jmp resume_clean

// Goes on at resume_user without having come in by an entry.
    .global resume_user_from
resume_user_from:
    mov %rdi, %rax
    jmp resume_user

    .global run_on_stack
run_on_stack:
    mov %rdi, %rsp
    xor %ebp, %ebp
    call *%rsi
    ud2

// Takes the kernel lock that somebody holds. Who holds it may be waiting for our TLB flush.
// Keeps all registers but r11 and flags.
    .global kernel_lock_wait
kernel_lock_wait:
    pause
    cmpl $0, %gs:PC_FLUSH_PENDING
    jne 2f
1:  testl $1, kernel_lock_word
    jnz kernel_lock_wait
    lock btsl $0, kernel_lock_word
    jc kernel_lock_wait
    ret
2:  mov %cr3, %r11
    mov %r11, %cr3
    movl $0, %gs:PC_FLUSH_PENDING
    jmp 1b

    .section .data.boot, "aw", @progbits
    .balign 64
    .global kernel_lock_word
kernel_lock_word: .long 0
    .skip 60

    .section .note.GNU-stack, "", @progbits
