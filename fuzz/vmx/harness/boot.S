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
// uint32_t vmx_enter(uint32_t flags): 0 VMfailInvalid, 1 VMfailValid, 2 exit, 100h + vector.
    .global vmx_enter
vmx_enter:
    push %rbx
    push %rbp
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, saved_rsp
    mov $0x10, %ebx
    test $4, %edi
    jnz 2f
    test $1, %edi
    jnz 1f
    vmlaunch
    jmp 4f
1:  vmresume
    jmp 4f
2:  test $1, %edi
    jnz 3f
    mov %ebx, %ss
    vmlaunch
    jmp 4f
3:  mov %ebx, %ss
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
    .global vm_exit
vm_exit:
    mov saved_rsp, %rsp
    mov $2, %eax
    cld
    jmp back

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
saved_rsp: .quad 0
