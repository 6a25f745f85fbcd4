// VMRUN, what can come instead of it, and the loop that runs most cases.
//
// What runs for every case lies together in one page: after each VMRUN and #VMEXIT an emulator
// fills its TLB and its table of translated code again, page by page and block by block. It is
// straight-line code where it can be, and it calls nothing: each return is a search for the
// translation, each instruction time in an interpreter. main.cpp holds these numbers to the
// structures.
    .set RING, 0x300000
    .set BOX, 0x200000          // the mailbox; at the end of its page the stack
    .global stack_top
    .set stack_top, BOX + 0x1000
    .set BOX_BASELINE, BOX + 16
    .set BOX_WINDOW, BOX + 152
    .set BOX_TEMPLATE, BOX + 344
    .set BOX_PRODUCED, BOX + 1184
    .set BOX_CONSUMED, BOX + 1192
    .set BOX_SLOT, BOX + 1200
    .set BOX_RSP, BOX + 1208
    .set BOX_RSP_AFTER, BOX + 1216
    .set BOX_RAX, BOX + 1224
    .set BOX_RFLAGS, BOX + 1232
    .set BOX_VECTOR, BOX + 1240
    .set BOX_ERROR, BOX + 1248
    .set BOX_FAULT_RIP, BOX + 1256
    .set BOX_NMIS, BOX + 1264
    .set BOX_INTRS, BOX + 1268
    .set BOX_LEFT, BOX + 1272
    .set BOX_TABLE, BOX + 1280

    .set ID, 0x700
    .set DONE, 0x708
    .set FLAGS, 0x710
    .set WINDOWS, 0x714
    .set INSTALL, 0x718
    .set CODE_QWORDS, 0x71c
    .set CODE_ADDRESS, 0x720
    .set RAX, 0x730
    .set STATUS, 0x740          // vector above it
    .set ERROR, 0x748
    .set FAULT_RIP, 0x750
    .set NMIS, 0x758            // intrs above it
    .set EARLY, 0x760
    .set HOST_DIFFERS, 0x764
    .set GPR, 0x768
    .set HOST, 0x808
    .set CODE, 0x890
    .set WINDOW, 0x910
    .set FLAG_FRESH_CODE, 1
    .set FLAG_PLAIN, 0x80000000
    .set STATUS_EXIT, 1
    .set STATUS_EXCEPTION, 2

    .set H_CR0, 0
    .set H_CR2, 8
    .set H_CR3, 16
    .set H_CR4, 24
    .set H_CR8, 32
    .set H_EFER, 40
    .set H_RFLAGS, 48
    .set H_DR6, 56
    .set H_DR7, 64
    .set H_GDTR_BASE, 72
    .set H_GDTR_LIMIT, 80
    .set H_IDTR_BASE, 88
    .set H_IDTR_LIMIT, 96
    .set H_SELECTORS, 104
    .set H_TR_LDTR, 112
    .set H_HSAVE_PA, 120

// The guest's registers from the case at rdi; rax is VMRUN's operand, rax and rsp of the guest are
// in the VMCB.
.macro load_guest
    mov RAX(%rdi), %rax
    mov GPR + 8(%rdi), %rcx
    mov GPR + 16(%rdi), %rdx
    mov GPR + 24(%rdi), %rbx
    mov GPR + 40(%rdi), %rbp
    mov GPR + 48(%rdi), %rsi
    mov GPR + 64(%rdi), %r8
    mov GPR + 72(%rdi), %r9
    mov GPR + 80(%rdi), %r10
    mov GPR + 88(%rdi), %r11
    mov GPR + 96(%rdi), %r12
    mov GPR + 104(%rdi), %r13
    mov GPR + 112(%rdi), %r14
    mov GPR + 120(%rdi), %r15
    mov GPR + 56(%rdi), %rdi
.endm

// Directly after #VMEXIT: the stack and the flags.
.macro take_flags
    mov %rsp, BOX_RSP_AFTER
    mov BOX_RSP, %rsp
    pushfq
    popq BOX_RFLAGS
.endm

// The guest's registers back into the case; rdi is the case again.
.macro store_guest
    mov %rax, BOX_RAX
    mov BOX_SLOT, %rax
    mov %rcx, GPR + 8(%rax)
    mov %rdx, GPR + 16(%rax)
    mov %rbx, GPR + 24(%rax)
    mov %rbp, GPR + 40(%rax)
    mov %rsi, GPR + 48(%rax)
    mov %rdi, GPR + 56(%rax)
    mov %r8, GPR + 64(%rax)
    mov %r9, GPR + 72(%rax)
    mov %r10, GPR + 80(%rax)
    mov %r11, GPR + 88(%rax)
    mov %r12, GPR + 96(%rax)
    mov %r13, GPR + 104(%rax)
    mov %r14, GPR + 112(%rax)
    mov %r15, GPR + 120(%rax)
    mov %rax, %rdi
    mov BOX_RAX, %rcx
    mov %rcx, GPR(%rdi)
.endm

// What a fault leaves otherwise: from ring 3 a null stack selector, and an IRET to ring 3 null data
// selectors. The registers are as they were at the fault.
.macro mend_after_fault
    mov %rax, BOX_RAX
    mov $0x10, %eax
    mov %eax, %ss
    mov %eax, %ds
    mov %eax, %es
    mov BOX_RAX, %rax
    mov BOX_RSP, %rsp
    mov %rsp, BOX_RSP_AFTER
.endm

.macro save_registers
    push %rbx
    push %rbp
    push %r12
    push %r13
    push %r14
    push %r15
.endm
.macro restore_registers
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbp
    pop %rbx
.endm

// rbx collects every bit in which the host differs from the baseline.
.macro collect reg, field
    xor BOX_BASELINE + \field, \reg
    or \reg, %rbx
.endm
.macro compare_host
    mov BOX_RSP_AFTER, %rbx
    xor %rsp, %rbx
    mov %cr0, %rcx
    collect %rcx, H_CR0
    mov %cr3, %rcx
    collect %rcx, H_CR3
    mov %cr4, %rcx
    collect %rcx, H_CR4
    mov %cr8, %rcx
    collect %rcx, H_CR8
    mov %dr6, %rcx
    collect %rcx, H_DR6
    mov %dr7, %rcx
    collect %rcx, H_DR7
    sgdt BOX_TABLE
    mov BOX_TABLE + 2, %rcx
    collect %rcx, H_GDTR_BASE
    movzwl BOX_TABLE, %ecx
    collect %rcx, H_GDTR_LIMIT
    sidt BOX_TABLE
    mov BOX_TABLE + 2, %rcx
    collect %rcx, H_IDTR_BASE
    movzwl BOX_TABLE, %ecx
    collect %rcx, H_IDTR_LIMIT
    mov %es, %ecx
    mov %ds, %edx
    shl $16, %ecx
    or %edx, %ecx
    mov %ss, %edx
    shl $16, %rcx
    or %rdx, %rcx
    mov %cs, %edx
    shl $16, %rcx
    or %rdx, %rcx
    collect %rcx, H_SELECTORS
    sldt %ecx
    str %edx
    shl $16, %ecx
    or %edx, %ecx
    collect %rcx, H_TR_LDTR
    mov $0xc0000080, %ecx
    rdmsr
    shl $32, %rdx
    or %rdx, %rax
    collect %rax, H_EFER
    mov $0xc0010117, %ecx
    rdmsr
    shl $32, %rdx
    or %rdx, %rax
    collect %rax, H_HSAVE_PA
.endm

    .section .text.hot, "ax", @progbits

// void run_plain(): runs the cases of the ring that need registers, windows and code only (PLAIN),
// until there is none or the next one needs more.
    .global run_plain
    .balign 16
run_plain:
    save_registers
    mov %rsp, BOX_RSP
next_case:
    mov BOX_CONSUMED, %rdi
    cmp BOX_PRODUCED, %rdi
    je no_case
    movzbl %dil, %edi
    shl $12, %edi
    add $RING, %edi
    testl $FLAG_PLAIN, FLAGS(%rdi)
    jz no_case
    mov %rdi, BOX_SLOT
    mov INSTALL(%rdi), %ecx
    test %ecx, %ecx
    jnz install_windows
installed:
    testl $FLAG_FRESH_CODE, FLAGS(%rdi)
    jnz write_code
written:
    movq $0, BOX_NMIS
    load_guest
    .global plain_vmrun
plain_vmrun:
    vmrun %rax
plain_after:
    take_flags
plain_store:
    store_guest
    compare_host
    mov BOX_RFLAGS, %rcx
    mov %rcx, HOST + H_RFLAGS(%rdi)
    mov %cr2, %rcx
    mov %rcx, HOST + H_CR2(%rdi)
    movl $0, HOST_DIFFERS(%rdi)
    test %rbx, %rbx
    jnz host_differs
host_seen:
    mov WINDOWS(%rdi), %ecx
    test %ecx, %ecx
    jnz compare_windows
windows_seen:
    movq $STATUS_EXIT, STATUS(%rdi)
    movq $0, ERROR(%rdi)
    movq $0, FAULT_RIP(%rdi)
    cmpq $-1, BOX_VECTOR
    jne plain_faulted
status_known:
    mov BOX_NMIS, %rcx          // none was asked for: whatever came was too early
    mov %rcx, NMIS(%rdi)
    mov %rcx, %rdx
    shr $32, %rdx
    add %ecx, %edx
    mov %edx, EARLY(%rdi)
    mov ID(%rdi), %rax
    mov %rax, DONE(%rdi)
    incq BOX_CONSUMED
    jmp next_case
no_case:
    restore_registers
    ret

plain_recover:
    mend_after_fault
    jmp plain_store

plain_faulted:
    movl $STATUS_EXCEPTION, STATUS(%rdi)
    mov BOX_VECTOR, %rcx
    mov %ecx, STATUS + 4(%rdi)
    mov BOX_ERROR, %rcx
    mov %rcx, ERROR(%rdi)
    mov BOX_FAULT_RIP, %rcx
    sub $plain_vmrun, %rcx
    mov %rcx, FAULT_RIP(%rdi)
    movq $-1, BOX_VECTOR
    jmp status_known

host_differs:
    push %rdi
    cld
    call report_host            // of the case at rdi
    pop %rdi
    jmp host_seen

// One window of the mask in ecx: r9 its number, rsi its address, rdx its content in the case, r10
// its quadwords.
.macro take_window
    bsf %ecx, %r9d
    mov %r9d, %eax
    shl $4, %eax
    mov BOX_WINDOW(%rax), %rsi
    mov BOX_WINDOW + 12(%rax), %edx
    mov BOX_WINDOW + 8(%rax), %r10d
    lea WINDOW(%rdi, %rdx, 8), %rdx
.endm

install_windows:
    take_window
1:  mov (%rdx), %rax
    mov %rax, (%rsi)
    add $8, %rdx
    add $8, %rsi
    dec %r10d
    jnz 1b
    lea -1(%rcx), %eax
    and %eax, %ecx
    jnz install_windows
    jmp installed

// Writes to a page that holds code are dear, so only what differs is written.
write_code:
    mov CODE_QWORDS(%rdi), %ecx
    mov CODE_ADDRESS(%rdi), %rsi
    lea CODE(%rdi), %rdx
1:  mov (%rdx), %rax
    cmp (%rsi), %rax
    je 2f
    mov %rax, (%rsi)
2:  add $8, %rdx
    add $8, %rsi
    dec %ecx
    jnz 1b
    jmp written

.macro compare_quadword at
    mov \at(%rsi), %r8
    xor \at(%rdx), %r8
    or %r8, %rax
.endm
compare_windows:
    take_window
    xor %eax, %eax
    sub $4, %r10d
    jb 2f
1:  compare_quadword 0
    compare_quadword 8
    compare_quadword 16
    compare_quadword 24
    add $32, %rdx
    add $32, %rsi
    sub $4, %r10d
    jae 1b
2:  test $2, %r10b
    jz 3f
    compare_quadword 0
    compare_quadword 8
    add $16, %rdx
    add $16, %rsi
3:  test $1, %r10b
    jz 4f
    compare_quadword 0
4:  test %rax, %rax
    jnz renew_window
    bt %r9d, INSTALL(%rdi)
    jc renew_window
next_window:
    lea -1(%rcx), %eax
    and %eax, %ecx
    jnz compare_windows
    jmp windows_seen

// Hands its content back and puts the template's in its place.
renew_window:
    take_window
    mov BOX_WINDOW + 12(%rax), %r8d
1:  mov (%rsi), %rax
    mov %rax, (%rdx)
    mov BOX_TEMPLATE(, %r8, 8), %rax
    mov %rax, (%rsi)
    inc %r8d
    add $8, %rdx
    add $8, %rsi
    dec %r10d
    jnz 1b
    jmp next_window

// void run_guest(RingSlot* rdi): one case, of which the caller does the rest.
    .global run_guest
    .balign 16
run_guest:
    save_registers
    mov %rsp, BOX_RSP
    mov %rdi, BOX_SLOT
    load_guest
    .global run_vmrun
run_vmrun:
    vmrun %rax
run_after:
    take_flags
run_store:
    store_guest
    restore_registers
    cld
    ret
run_recover:
    mend_after_fault
    jmp run_store

// void run_guest_user(RingSlot*): the same VMRUN at CPL 3. It can only fault.
    .global run_guest_user
run_guest_user:
    save_registers
    mov %rsp, BOX_RSP
    mov %rdi, BOX_SLOT
    mov RAX(%rdi), %rax
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

// void bare_loop(uint64_t vmcb_pa, uint64_t count): nothing but VMRUN.
    .global bare_loop
    .balign 16
bare_loop:
    save_registers
    mov %rdi, %rax
    mov %rsi, BOX_LEFT
1:  vmrun %rax
    decq BOX_LEFT
    jnz 1b
    restore_registers
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
    push %rax
    mov 24(%rsp), %rax
    cmp $try_wrmsr_at, %rax
    je vector_wrmsr
    // an exception of VMRUN, or what was left to trap behind it
    cmp $plain_vmrun, %rax
    je vector_plain
    cmp $plain_after, %rax
    je vector_plain
    cmp $run_vmrun, %rax
    je vector_run
    cmp $run_after, %rax
    je vector_run
    cmp $user_vmrun, %rax
    je vector_run
    pop %rax
    mov %rsp, %rdi
    and $-16, %rsp
    call harness_fault

vector_wrmsr:
    movq $try_wrmsr_failed, 24(%rsp)
    pop %rax
    add $16, %rsp
    iretq

.macro take_exception
    pop %rax
    popq BOX_VECTOR
    popq BOX_ERROR
    popq BOX_FAULT_RIP
    addq $8, %rsp
    popq BOX_RFLAGS
.endm
vector_plain:
    take_exception
    jmp plain_recover
vector_run:
    take_exception
    jmp run_recover

vector_nmi:
    incl BOX_NMIS
    add $16, %rsp
    iretq
vector_intr:
    incl BOX_INTRS
vector_idle:
    push %rax
    mov $0xfee000b0, %eax
    movl $0, (%rax)             // end of interrupt
    pop %rax
    add $16, %rsp
    iretq
