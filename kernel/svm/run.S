// void svm_run(u64 vmcb, u64* registers), preserve_none: in r12 and r13, all registers but rbp lost.
// One VMRUN. `registers` are the guest's in encoding order; RAX and RSP are in the VMCB.
// Interrupts stay pending from CLGI to the caller's window: V_INTR_MASKING makes the host's
// RFLAGS.IF, set here, decide whether they end the guest's run (APM vol. 2 §15.21.1).
#include "kernel/arch/asm_offsets.h"
#include "kernel/arch/guest_registers.h"

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
    load_guest_registers %r13
    mov 56(%r13), %rdi
    mov 104(%r13), %r13
    clgi
    sti
    vmload %rax
    vmrun %rax
    vmsave %rax
    pop %rax
    vmload %rax
    pop %rax
    store_guest_registers %rax
    mov %rdi, 56(%rax)
    mov %r13, 104(%rax)
    cli
    stgi
    pop %rbp
    ret
    .size svm_run, . - svm_run
    .section .note.GNU-stack, "", @progbits
