// Entry of the VMX harness from the ROM: 32-bit protected mode without paging. Goes to 64-bit mode
// with 4 GiB mapped one to one. Then the entry itself, and the ways back.
    .section .boot, "ax", @progbits
    .code32
    .global entry32
entry32:
    cli
    cld
    mov $__bss_start, %edi
    mov $__bss_end, %ecx
    sub %edi, %ecx
    xor %eax, %eax
    rep stosb
    mov $stack_top, %esp
    movl $pdpt + 3, pml4
    movl $0x00000083, pdpt
    movl $0x40000083, pdpt + 8
    movl $0x80000083, pdpt + 16
    movl $0xc0000083, pdpt + 24
    mov $pml4, %eax
    mov %eax, %cr3
    mov $0x2020, %eax           // PAE, VMXE
    mov %eax, %cr4
    mov $0xc0000080, %ecx
    rdmsr
    or $0x901, %eax             // NXE, LME, SCE
    wrmsr
    mov %cr0, %eax
    and $0x9fffffff, %eax
    or $0x80010023, %eax
    mov %eax, %cr0
    lgdt gdt_pointer32
    ljmp $0x08, $entry64

    .code64
entry64:
    mov $0x10, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    xor %eax, %eax
    mov %eax, %fs
    mov %eax, %gs
    lldt %ax
    mov $stack_top, %rsp
    call harness_main
1:  cli
    hlt
    jmp 1b

    .section .text
// uint32_t vmx_enter(uint32_t flags, const uint64_t* registers): 0 VMfailInvalid, 1 VMfailValid,
// 2 exit, 100h + vector. Of an exit the guest's registers are in `guest_registers`.
    .global vmx_enter
vmx_enter:
    push %rbx
    push %rbp
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, saved_rsp
    mov %rsi, %rax
    bt $2, %edi
    jc 2f
    bt $0, %edi
    call load_registers
    jc 1f
    vmlaunch
    jmp 4f
1:  vmresume
    jmp 4f
2:  bt $0, %edi
    call load_registers
    jc 3f                       // the guest's registers are in place: SS from memory
    mov stack_selector, %ss
    vmlaunch
    jmp 4f
3:  mov stack_selector, %ss
    vmresume
4:  setz %al
    movzbl %al, %eax
back:
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbp
    pop %rbx
    ret
load_registers:                 // keeps CF
    mov 8(%rax), %rcx
    mov 16(%rax), %rdx
    mov 24(%rax), %rbx
    mov 40(%rax), %rbp
    mov 48(%rax), %rsi
    mov 56(%rax), %rdi
    mov 64(%rax), %r8
    mov 72(%rax), %r9
    mov 80(%rax), %r10
    mov 88(%rax), %r11
    mov 96(%rax), %r12
    mov 104(%rax), %r13
    mov 112(%rax), %r14
    mov 120(%rax), %r15
    mov (%rax), %rax
    ret
    .global vm_exit
vm_exit:
    mov %rax, guest_registers
    mov %rcx, guest_registers + 8
    mov %rdx, guest_registers + 16
    mov %rbx, guest_registers + 24
    mov %rbp, guest_registers + 40
    mov %rsi, guest_registers + 48
    mov %rdi, guest_registers + 56
    mov %r8, guest_registers + 64
    mov %r9, guest_registers + 72
    mov %r10, guest_registers + 80
    mov %r11, guest_registers + 88
    mov %r12, guest_registers + 96
    mov %r13, guest_registers + 104
    mov %r14, guest_registers + 112
    mov %r15, guest_registers + 120
    mov saved_rsp, %rsp
    mov $2, %eax
    cld
    jmp back
    .global unblocking_iret
unblocking_iret:                // run by a guest
    iretq

// uint32_t vmx_step(uint32_t instruction, const Operand*, uint64_t* value): 0 VMfailInvalid,
// 1 VMfailValid, 5 success, 100h + vector. One VMX instruction; VMLAUNCH and VMRESUME go by
// vmx_enter.
    .global vmx_step
vmx_step:
    push %rbx
    push %rbp
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, saved_rsp
    mov %rdx, %r12
    mov 8(%rsi), %rax           // operand
    mov 16(%rsi), %rcx          // value
    mov %edi, %edi
    lea step_table(,%rdi,8), %rdx
    jmp *(%rdx)
step_done:                      // CF: invalid, ZF: valid
    mov $0, %eax
    jc back
    mov $1, %eax
    jz back
    mov $5, %eax
    jmp back
step_vmxon:
    vmxon 8(%rsi)
    jmp step_done
step_vmxoff:
    vmxoff
    jmp step_done
step_vmclear:
    vmclear 8(%rsi)
    jmp step_done
step_vmptrld:
    vmptrld 8(%rsi)
    jmp step_done
step_vmptrst:
    vmptrst (%r12)
    jmp step_done
step_vmread:
    vmread %rax, (%r12)
    jmp step_done
step_vmwrite:
    vmwrite %rcx, %rax
    jmp step_done
step_invept:
    invept 16(%rsi), %rax
    jmp step_done
step_invvpid:
    invvpid 16(%rsi), %rax
    jmp step_done
step_vmfunc:
    mov %rcx, %rbx
    mov 24(%rsi), %rcx
    vmfunc
    jmp step_done
step_vmcall:
    vmcall
    jmp step_done
step_mov_cr0:
    mov %rax, %cr0
    mov $5, %eax
    jmp back
step_mov_cr4:
    mov %rax, %cr4
    mov $5, %eax
    jmp back
step_nothing:
    mov $0x1ff, %eax
    jmp back
    .section .rodata
    .balign 8
step_table:
    .quad step_vmxon, step_vmxoff, step_vmclear, step_vmptrld, step_vmptrst, step_vmread
    .quad step_vmwrite, step_nothing, step_nothing, step_invept, step_invvpid, step_vmfunc
    .quad step_vmcall, step_mov_cr0, step_mov_cr4
    .section .text

// 32 entries of 16 bytes; a fault anywhere ends the entry that is under way.
    .balign 16
    .global fault_entries
fault_entries:
    .set vector, 0
    .rept 32
    .balign 16
    mov $0x100 + vector, %eax
    jmp fault
    .set vector, vector + 1
    .endr
fault:
    mov saved_rsp, %rsp
    cld
    jmp back

    .section .data
stack_selector: .word 0x10
    .balign 16
    .global gdt
gdt:
    .quad 0
    .quad 0x00af9b000000ffff    // 08 code, 64 bit
    .quad 0x00cf93000000ffff    // 10 data
    .global gdt_tss
gdt_tss:
    .quad 0, 0                  // 18 TSS
gdt_end:
    .balign 8
    .word 0
gdt_pointer32:
    .word gdt_end - gdt - 1
    .long gdt

    .section .bss
    .balign 4096
pml4: .skip 4096
pdpt: .skip 4096
    .skip 16384
stack_top:
    .balign 16
    .skip 4096
    .global exit_stack_top
exit_stack_top:
saved_rsp: .skip 8
    .global guest_registers
guest_registers: .skip 128
