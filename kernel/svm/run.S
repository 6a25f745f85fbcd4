// void svm_run(u64 vmcb, u64* registers), preserve_none: in r12 and r13, all registers but rbp lost.
// One VMRUN. `registers` are the guest's in encoding order; RAX and RSP are in the VMCB.
// Interrupts stay pending from CLGI to the caller's window: V_INTR_MASKING makes the host's
// RFLAGS.IF, set here, decide whether they end the guest's run (APM vol. 2 §15.21.1).
#include "kernel/arch/asm_offsets.h"

    .text
    .globl svm_run
    .type svm_run, @function
svm_run:
    mov %gs:PC_FS_BASE, %rax            // the thread's; VMLOAD brings it back
    mov %gs:PC_HOST_STATE_AREA, %rdx
    mov %rax, VMCB_FS_BASE(%rdx)
    push %rbp
    push %r13
    push %gs:PC_HOST_STATE              // after the exit GS is the guest's at first
    mov %r12, %rax
    mov 8(%r13), %rcx
    mov 16(%r13), %rdx
    mov 24(%r13), %rbx
    mov 40(%r13), %rbp
    mov 48(%r13), %rsi
    mov 56(%r13), %rdi
    mov 64(%r13), %r8
    mov 72(%r13), %r9
    mov 80(%r13), %r10
    mov 88(%r13), %r11
    mov 96(%r13), %r12
    mov 112(%r13), %r14
    mov 120(%r13), %r15
    mov 104(%r13), %r13
    clgi
    sti
    vmload %rax
    vmrun %rax
    vmsave %rax
    pop %rax
    vmload %rax
    pop %rax
    mov %rcx, 8(%rax)
    mov %rdx, 16(%rax)
    mov %rbx, 24(%rax)
    mov %rbp, 40(%rax)
    mov %rsi, 48(%rax)
    mov %rdi, 56(%rax)
    mov %r8, 64(%rax)
    mov %r9, 72(%rax)
    mov %r10, 80(%rax)
    mov %r11, 88(%rax)
    mov %r12, 96(%rax)
    mov %r13, 104(%rax)
    mov %r14, 112(%rax)
    mov %r15, 120(%rax)
    cli
    stgi
    pop %rbp
    ret
    .size svm_run, . - svm_run
    .section .note.GNU-stack, "", @progbits
