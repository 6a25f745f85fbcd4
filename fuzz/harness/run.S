// One VMRUN, and what can come instead of it.
#define CASE_GPR 64

    // What runs for every case lies together in one page: after each VMRUN and #VMEXIT an emulator
    // fills its TLB and its table of translated code again, page by page and block by block.
    .section .text.hot, "ax", @progbits

// void run_guest(const CaseSlot* rdi, uint64_t* out_gpr rsi)
// Loads the guest's registers, runs, stores them. rax is VMRUN's operand; rax and rsp of the guest
// are in the VMCB. Comes back through run_recover when VMRUN faults.
    .global run_guest
    .balign 16
run_guest:
    push %rbx
    push %rbp
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, run_rsp(%rip)
    mov 40(%rdi), %rax          // CaseSlot::rax
    mov CASE_GPR + 8(%rdi), %rcx
    mov CASE_GPR + 16(%rdi), %rdx
    mov CASE_GPR + 24(%rdi), %rbx
    mov CASE_GPR + 40(%rdi), %rbp
    mov CASE_GPR + 48(%rdi), %rsi
    mov CASE_GPR + 64(%rdi), %r8
    mov CASE_GPR + 72(%rdi), %r9
    mov CASE_GPR + 80(%rdi), %r10
    mov CASE_GPR + 88(%rdi), %r11
    mov CASE_GPR + 96(%rdi), %r12
    mov CASE_GPR + 104(%rdi), %r13
    mov CASE_GPR + 112(%rdi), %r14
    mov CASE_GPR + 120(%rdi), %r15
    mov CASE_GPR + 56(%rdi), %rdi
    movl $1, run_active(%rip)
    .global run_vmrun
run_vmrun:
    vmrun %rax
    movl $0, run_active(%rip)
    mov %rsp, run_rsp_after(%rip)
    pushfq
    popq run_rflags(%rip)
    jmp run_store

// The exception handler comes here with the registers as they were at the fault.
    .global run_recover
run_recover:
    movl $0, run_active(%rip)
    pushq %rax
    movl $0x10, %eax            // a fault from ring 3 leaves a null stack selector, and IRET
    mov %eax, %ss               // to ring 3 left null data selectors
    mov %eax, %ds
    mov %eax, %es
    popq %rax
    mov run_rsp(%rip), %rsp
    mov %rsp, run_rsp_after(%rip)
run_store:
    mov %rax, run_gpr + 0(%rip)
    mov %rcx, run_gpr + 8(%rip)
    mov %rdx, run_gpr + 16(%rip)
    mov %rbx, run_gpr + 24(%rip)
    mov %rbp, run_gpr + 40(%rip)
    mov %rsi, run_gpr + 48(%rip)
    mov %rdi, run_gpr + 56(%rip)
    mov %r8, run_gpr + 64(%rip)
    mov %r9, run_gpr + 72(%rip)
    mov %r10, run_gpr + 80(%rip)
    mov %r11, run_gpr + 88(%rip)
    mov %r12, run_gpr + 96(%rip)
    mov %r13, run_gpr + 104(%rip)
    mov %r14, run_gpr + 112(%rip)
    mov %r15, run_gpr + 120(%rip)
    mov run_rsp(%rip), %rsp
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbp
    pop %rbx
    cld
    ret

// void run_guest_user(const CaseSlot*): the same VMRUN at CPL 3. It can only fault.
    .global run_guest_user
run_guest_user:
    push %rbx
    push %rbp
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, run_rsp(%rip)
    mov 40(%rdi), %rax
    movl $1, run_active(%rip)
    push $0x23
    push $0
    push $2
    push $0x1b
    push $user_vmrun
    iretq
    .global user_vmrun
user_vmrun:
    vmrun %rax
    ud2

// uint64_t bare_loop(uint64_t vmcb_pa, uint64_t count): nothing but VMRUN.
    .global bare_loop
    .balign 16
bare_loop:
    push %rbx
    push %rbp
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rdi, %rax
    mov %rsi, bare_left(%rip)
1:  vmrun %rax
    decq bare_left(%rip)
    jnz 1b
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbp
    pop %rbx
    ret

    .section .text

// bool try_wrmsr(uint32_t msr edi, uint64_t value rsi): false when it faulted.
    .global try_wrmsr
try_wrmsr:
    mov %edi, %ecx
    mov %rsi, %rax
    mov %rsi, %rdx
    shr $32, %rdx
    .global try_wrmsr_at
try_wrmsr_at:
    wrmsr
    mov $1, %eax
    ret
    .global try_wrmsr_failed
try_wrmsr_failed:
    xor %eax, %eax
    ret

// ---- vectors: 256 stubs of 16 bytes ----
    .balign 16
    .global vectors
vectors:
    vector = 0
    .rept 256
    .balign 16
    // vectors 8, 10-14, 17, 21, 29, 30 push an error code themselves
    .if !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21 || vector == 29 || vector == 30)
    push $0
    .endif
    push $vector
    jmp vector_common
    vector = vector + 1
    .endr

    .balign 16
vector_common:
    // vector, error, rip, cs, rflags, rsp, ss
    cmpl $2, (%rsp)
    je vector_nmi
    cmpl $0x50, (%rsp)
    je vector_intr
    cmpl $0x40, (%rsp)
    je vector_idle
    cmpl $0, run_active(%rip)
    jne vector_in_case
    push %rax
    lea try_wrmsr_at(%rip), %rax
    cmp %rax, 24(%rsp)
    jne 1f
    lea try_wrmsr_failed(%rip), %rax
    mov %rax, 24(%rsp)
    pop %rax
    add $16, %rsp
    iretq
1:  pop %rax
    mov %rsp, %rdi
    and $-16, %rsp
    call harness_fault

vector_in_case:
    popq run_vector(%rip)
    popq run_error(%rip)
    popq run_fault_rip(%rip)
    addq $8, %rsp
    popq run_rflags(%rip)
    jmp run_recover

vector_nmi:
    incl run_nmis(%rip)
    add $16, %rsp
    iretq
vector_intr:
    incl run_intrs(%rip)
vector_idle:
    push %rax
    mov $0xfee000b0, %eax
    movl $0, (%rax)             // end of interrupt
    pop %rax
    add $16, %rsp
    iretq

    // At the end of the page whose rest is the stack: one page for both.
    .section .hotdata, "aw", @nobits
    .global stack_top
    .balign 4096
    .skip 16384 - 256
stack_top:
    .global run_gpr, run_rsp, run_rsp_after, run_rflags, run_active, run_vector, run_error
    .global run_fault_rip, run_nmis, run_intrs
run_gpr:       .skip 128
run_rsp:       .skip 8
run_rsp_after: .skip 8
run_rflags:    .skip 8
run_vector:    .skip 8
run_error:     .skip 8
run_fault_rip: .skip 8
bare_left:     .skip 8
run_active:    .skip 4
run_nmis:      .skip 4
run_intrs:     .skip 4
