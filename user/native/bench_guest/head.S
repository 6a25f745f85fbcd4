// A guest kernel of a few kilobytes in the shape of a bzImage, so that the real virtual machine
// monitor boots it as it boots Linux (Linux/x86 boot protocol, 64-bit entry point).
    .section .setup, "a"
    .globl setup_begin
setup_begin:
    .org 0x1f1
    .byte 1               // setup_sects: one sector after the boot sector
    .org 0x1f4
    .long payload_paragraphs
    .org 0x1fe
    .word 0xaa55
    .byte 0xeb, 0x66      // jump over the header, which ends at 0x268
    .ascii "HdrS"
    .word 0x020f
    .org 0x211
    .byte 1               // LOADED_HIGH
    .org 0x22c
    .long 0x7fffffff      // initrd_addr_max
    .long 0x200000        // kernel_alignment
    .byte 0               // not relocatable
    .org 0x236
    .word 1               // XLF_KERNEL_64
    .long 2047            // cmdline_size
    .org 0x258
    .quad 0x100000        // pref_address
    .long 0x100000        // init_size
    .org 0x400

    .text
    .globl _start
_start:
    .org 0x200            // the 64-bit entry point
    cli
    leaq stack_top(%rip), %rsp
    call guest_main
1:  hlt
    jmp 1b

// Interrupt 0x40: notes the time and takes the interrupt off the local APIC.
    .globl interrupt_entry
interrupt_entry:
    pushq %rax
    pushq %rdx
    rdtsc
    shlq $32, %rdx
    orq %rdx, %rax
    movq %rax, interrupt_time(%rip)
    movl $0xfee000b0, %eax
    movl $0, (%rax)
    popq %rdx
    popq %rax
    iretq

// #UD: the three-byte instruction is skipped.
    .globl undefined_entry
undefined_entry:
    addq $3, (%rsp)
    incq undefined_count(%rip)
    iretq

// #GP: the two-byte instruction is skipped.
    .globl protection_entry
protection_entry:
    addq $8, %rsp
    addq $2, (%rsp)
    iretq

    .data
    .globl interrupt_time, undefined_count
    .balign 16
interrupt_time: .quad 0
undefined_count: .quad 0
    .balign 16
    .skip 4096
stack_top:
    .section .note.GNU-stack, "", @progbits
