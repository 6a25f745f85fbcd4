// The processor's ways into the kernel that nobody asked for: exceptions and interrupts. Interrupts
// are off in ring 0 except in the one-instruction windows of take_interrupt and idle_wait, so no
// entry nests.
#include "asm_offsets.h"

#define RFLAGS_IF 0x200

    .section .text.entry, "ax", @progbits
    .code64

// Exceptions and interrupts. The stack holds vector, error code, rip, cs, rflags, rsp, ss.
interrupt_common:
    push (%rsp)                 // in the error code's place
trap_common:
    testb $3, 24(%rsp)
    jz trap_in_kernel
    swapgs
    push %rax
    mov %gs:PC_REGS, %rax
    mov %rcx, RG_RCX(%rax)
    mov %rdx, RG_RDX(%rax)
    mov %rbx, RG_RBX(%rax)
    mov %rbp, RG_RBP(%rax)
    mov %rsi, RG_RSI(%rax)
    mov %rdi, RG_RDI(%rax)
    mov %r8, RG_R8(%rax)
    mov %r9, RG_R9(%rax)
    mov %r10, RG_R10(%rax)
    mov %r11, RG_R11(%rax)
    mov %r12, RG_R12(%rax)
    mov %r13, RG_R13(%rax)
    mov %r14, RG_R14(%rax)
    mov %r15, RG_R15(%rax)
    pop RG_RAX(%rax)
    pop %rdi                    // vector
    pop %rsi                    // error code
    pop RG_RIP(%rax)
    pop %rcx                    // cs
    pop RG_RFLAGS(%rax)
    pop RG_RSP(%rax)
    movq $1, RG_FULL(%rax)
    push $2                     // clean flags: the user's AC would switch SMAP off, DF confuse C++
    popfq
    mov %gs:PC_KERNEL_RSP, %rsp
    movzbl %dil, %edi
    call shell_trap
    jmp resume_user

trap_in_kernel:
    cmpb $32, (%rsp)
    jb 1f
    push %rax                   // an interrupt in the window: note it, and let no second one in
    movzbl 8(%rsp), %eax
    mov %rax, %gs:PC_WINDOW_VECTOR
    pop %rax
    add $16, %rsp
    andl $~RFLAGS_IF, 16(%rsp)
    iretq
1:  pop %rdi
    pop %rsi
    mov (%rsp), %rdx
    mov 24(%rsp), %rcx
    call shell_kernel_fault
    ud2

// Opens the window for one pending interrupt; its vector, or 0.
    .global take_interrupt
take_interrupt:
    movq $0, %gs:PC_WINDOW_VECTOR
    sti
    nop
    cli
    mov %gs:PC_WINDOW_VECTOR, %rax
    ret

// Sleeps until an interrupt; its vector.
    .global idle_wait
idle_wait:
    movq $0, %gs:PC_WINDOW_VECTOR
    sti
    hlt
    cli
    mov %gs:PC_WINDOW_VECTOR, %rax
    ret

// On its own stack, GS unknown. Only the stop request and hardware errors come this way.
nmi_entry:
    push %rax
    push %rcx
    push %rdx
    push %rsi
    push %rdi
    push %r8
    push %r9
    push %r10
    push %r11
    cld
    call shell_nmi
    pop %r11
    pop %r10
    pop %r9
    pop %r8
    pop %rdi
    pop %rsi
    pop %rdx
    pop %rcx
    pop %rax
    iretq

// Never returns.
    .macro fatal_stub vector
    mov $\vector, %edi
    mov (%rsp), %rdx
    .if \vector == 8
    mov 8(%rsp), %rdx
    .endif
    xor %esi, %esi
    xor %ecx, %ecx
    cld
    call shell_kernel_fault
    ud2
    .endm

// On its own stack: the single step of a SYSCALL in ring 3 comes after it on some processors (Bochs
// 2.7's), at our first instruction, where stack and GS are still the user's. IA32_FMASK has cleared
// TF by then, so that nothing is left to do.
debug_entry:
    testb $3, 8(%rsp)
    jz 1f
    push $0
    push $1
    jmp trap_common             // which leaves this stack
1:  cmpq $syscall_entry, (%rsp)
    jne 2f
    iretq
2:  fatal_stub 1

// Double fault and machine check never return; on their own stacks, GS unknown.
double_fault_entry:
    fatal_stub 8
machine_check_entry:
    fatal_stub 18

// Stub of vector v at exception_stubs + 16 v, of interrupt v at interrupt_stubs + 8 (v - 32).
    .balign 16
    .global exception_stubs
exception_stubs:
    vec = 0
    .rept 32
    .balign 16
    .if vec == 1
    jmp debug_entry
    .elseif vec == 2
    jmp nmi_entry
    .elseif vec == 8
    jmp double_fault_entry
    .elseif vec == 18
    jmp machine_check_entry
    .else
    .ifeq (vec - 10) * (vec - 11) * (vec - 12) * (vec - 13) * (vec - 14) * (vec - 17) * (vec - 21) * (vec - 29) * (vec - 30)
    .else
    push $0
    .endif
    push $vec
    jmp trap_common
    .endif
    vec = vec + 1
    .endr

    .balign 16
    .global interrupt_stubs
interrupt_stubs:
    vec = 32
    .rept 224
    .balign 8
    .if vec < 128
    push $vec
    .else
    push $vec - 256
    .endif
    jmp interrupt_common
    vec = vec + 1
    .endr

    .section .note.GNU-stack, "", @progbits
