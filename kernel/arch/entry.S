// Ways into and out of the kernel. Interrupts are off in ring 0 except in the one-instruction
// windows of take_interrupt and idle_wait, so no entry nests.
#include "asm_offsets.h"

#define RFLAGS_IF 0x200

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

    .section .data.boot, "aw", @progbits
    .balign 64
    .global kernel_lock_word
kernel_lock_word: .long 0
    .skip 60

    .section .note.GNU-stack, "", @progbits
