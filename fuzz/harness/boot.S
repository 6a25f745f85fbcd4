// Entry of the harness: 32-bit protected mode without paging, from the PVH loader (QEMU), from our
// own ROM (Bochs) or from a Multiboot loader. Goes to 64-bit mode with 4 GiB mapped one to one.
    .section .note.Xen, "a", @note
    .long 4, 4, 18              // name size, descriptor size, XEN_ELFNOTE_PHYS32_ENTRY
    .asciz "Xen"
    .long entry32

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

    movl $pdpt + 7, pml4          // for ring 3 too: VMRUN is tried there
    movl $0x00000087, pdpt      // four 1 GiB pages
    movl $0x40000087, pdpt + 8
    movl $0x80000087, pdpt + 16
    movl $0xc0000087, pdpt + 24
    mov $pml4, %eax
    mov %eax, %cr3
    mov %cr4, %eax
    or $0x20, %eax              // PAE
    mov %eax, %cr4
    mov $0xc0000080, %ecx       // EFER: SVME, NXE, LME, SCE
    rdmsr
    or $0x1901, %eax
    wrmsr
    mov %cr0, %eax
    and $0x9fffffff, %eax       // caches on
    or $0x80010023, %eax        // PG, WP, NE, MP, PE
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
    xor %ebp, %ebp
    call harness_main
1:  cli
    hlt
    jmp 1b

    .section .data
    .balign 16
    .global gdt
gdt:
    .quad 0
    .quad 0x00af9b000000ffff    // 08 code, 64 bit
    .quad 0x00cf93000000ffff    // 10 data
    .quad 0x00affb000000ffff    // 18 code, 64 bit, ring 3
    .quad 0x00cff3000000ffff    // 20 data, ring 3
    .global gdt_tss
gdt_tss:
    .quad 0, 0                  // 28 TSS, filled in by harness_main
gdt_end:
    .balign 8
    .word 0
gdt_pointer32:
    .word gdt_end - gdt - 1
    .long gdt
    .global gdt_pointer64
    .balign 8
    .skip 6
gdt_pointer64:
    .word gdt_end - gdt - 1
    .quad gdt

    .section .bss
    .balign 4096
pml4: .skip 4096
pdpt: .skip 4096
