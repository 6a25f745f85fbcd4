// Entry from the boot loader (PVH or Multiboot2) and from an application processor's trampoline:
// 32-bit protected mode without paging, up to the first C++ function in 64-bit mode.

#define IMAGE_BASE 0xffffffff80000000
#define PHYS(symbol) (symbol - IMAGE_BASE)

#define PROTOCOL_PVH 1
#define PROTOCOL_MULTIBOOT2 2
#define MULTIBOOT2_LOADER_MAGIC 0x36d76289

#define CR0_PE_MP_ET_NE_WP_PG 0x80010033
#define CR4_PAE 0x20
#define MSR_EFER 0xc0000080

// PVH: XEN_ELFNOTE_PHYS32_ENTRY (Xen, docs/misc/pvh). Eight bytes, as 64-bit images have it.
    .section .note.pvh, "a", @note
    .balign 4
    .long 4, 8, 18
    .asciz "Xen"
    .balign 4
    .quad PHYS(pvh_start)

// Multiboot2 specification, section 3.1: header in the first 32 KiB of the file.
    .section .multiboot, "a", @progbits
    .balign 8
multiboot_header:
    .long 0xe85250d6, 0, multiboot_end - multiboot_header
    .long -(0xe85250d6 + 0 + (multiboot_end - multiboot_header))
    .balign 8
    .short 3, 0                 // entry address
    .long 12, PHYS(multiboot_start)
    .balign 8
    .short 6, 0                 // modules on page boundaries
    .long 8
    .balign 8
    .short 1, 0                 // information request: command line, modules, map, RSDP
    .long 8 + 5 * 4
    .long 1, 3, 6, 14, 15
    .balign 8
    .short 0, 0
    .long 8
multiboot_end:

    .section .text.boot, "ax", @progbits
    .code32
    .global pvh_start
pvh_start:
    mov $PROTOCOL_PVH, %ebp
    jmp start32

multiboot_start:
    mov $PROTOCOL_MULTIBOOT2, %ebp
    cmp $MULTIBOOT2_LOADER_MAGIC, %eax
    je start32
    mov $PHYS(message_loader), %esi
    jmp stop32

start32:
    cli
    cld
    rdtsc
    mov %eax, PHYS(boot_tsc)
    mov %edx, PHYS(boot_tsc) + 4
    mov $PHYS(boot_stack_top), %esp
    mov %ebx, %edi              // boot information
    mov $0x80000000, %eax
    cpuid
    cmp $0x80000001, %eax
    jb no_long_mode
    mov $0x80000001, %eax
    cpuid
    bt $29, %edx
    jnc no_long_mode

    // Identity map of the first 4 GiB in 2 MiB pages, seen also at the direct map's address; the
    // first GiB also at IMAGE_BASE. paging.cpp replaces it all.
    mov $PHYS(boot_pd), %ebx
    mov $0x83, %eax             // present, writable, 2 MiB
    xor %ecx, %ecx
1:  mov %eax, (%ebx, %ecx, 8)
    add $0x200000, %eax
    inc %ecx
    cmp $2048, %ecx
    jne 1b
    mov $PHYS(boot_pd) + 3, %eax
    mov $PHYS(boot_pdpt), %ebx
    xor %ecx, %ecx
2:  mov %eax, (%ebx, %ecx, 8)
    add $0x1000, %eax
    inc %ecx
    cmp $4, %ecx
    jne 2b
    movl $PHYS(boot_pd) + 3, PHYS(boot_image_pdpt) + 510 * 8
    movl $PHYS(boot_pdpt) + 3, PHYS(boot_pml4)
    movl $PHYS(boot_pdpt) + 3, PHYS(boot_pml4) + 256 * 8
    movl $PHYS(boot_image_pdpt) + 3, PHYS(boot_pml4) + 511 * 8
    mov $PHYS(start64), %esi
    jmp enter_long_mode

// Application processors come here from the trampoline, flat segments loaded.
    .global ap_start32
ap_start32:
    mov $PHYS(ap_start64), %esi
enter_long_mode:
    mov $CR4_PAE, %eax
    mov %eax, %cr4
    mov $PHYS(boot_pml4), %eax
    mov %eax, %cr3
    mov $MSR_EFER, %ecx
    mov PHYS(boot_efer), %eax
    xor %edx, %edx
    wrmsr
    mov $CR0_PE_MP_ET_NE_WP_PG, %eax
    mov %eax, %cr0
    lgdt PHYS(boot_gdt_pointer)
    ljmp $0x18, $PHYS(1f)
    .code64
1:  mov $0x10, %eax
    mov %eax, %ss
    mov %eax, %ds
    mov %eax, %es
    movslq %esi, %rsi
    mov $IMAGE_BASE, %rax
    add %rax, %rsi
    jmp *%rsi

start64:
    mov $boot_stack_top, %rsp
    mov %edi, %edi
    mov %ebp, %esi
    xor %ebp, %ebp
    call kernel_main
    ud2

// Find our number by local APIC ID, take our stack in the kernel's own address space.
ap_start64:
    mov $1, %eax
    cpuid
    shr $24, %ebx
    xor %edi, %edi
1:  cmp %ebx, ap_apic_ids(, %rdi, 4)
    je 2f
    inc %edi
    cmp ap_count, %edi
    jb 1b
3:  hlt                         // not in the table: not ours to run
    jmp 3b
2:  mov kernel_cr3, %rax
    mov %rax, %cr3
    mov ap_stack_stride, %rsp
    imul %rdi, %rsp
    add ap_stack_first, %rsp
    xor %ebp, %ebp
    call ap_main
    ud2

    .code32
no_long_mode:
    mov $PHYS(message_long_mode), %esi
// Too early for the log: the message goes to both serial ports, then the processor stops.
stop32:
    mov $0x2f8, %ebx
    call print32
    mov $0x3f8, %ebx
    call print32
4:  cli
    hlt
    jmp 4b

print32:
    push %esi
1:  lodsb
    test %al, %al
    jz 3f
    mov %al, %ah
    mov $100000, %ecx
    lea 5(%ebx), %edx
2:  in %dx, %al
    dec %ecx
    jz 4f
    test $0x20, %al
    jz 2b
4:  mov %ebx, %edx
    mov %ah, %al
    out %al, %dx
    jmp 1b
3:  pop %esi
    ret

    .section .rodata.boot, "a", @progbits
message_long_mode: .asciz "horos: fatal: this processor lacks long mode (64-bit)\r\n"
message_loader: .asciz "horos: fatal: not started by a Multiboot2 loader\r\n"

    .balign 8
boot_gdt:
    .quad 0
    .quad 0x00cf9b000000ffff    // 0x08: 32-bit code
    .quad 0x00cf93000000ffff    // 0x10: data
    .quad 0x00af9b000000ffff    // 0x18: 64-bit code
boot_gdt_end:
    .balign 4
boot_gdt_pointer:
    .short boot_gdt_end - boot_gdt - 1
    .long PHYS(boot_gdt)

// The page that a start-up IPI names: copied below 1 MiB, position independent.
    .global trampoline_start, trampoline_end
    .balign 16
    .code16
trampoline_start:
    cli
    cld
    lgdtl %cs:trampoline_gdt_pointer - trampoline_start
    mov $1, %eax
    mov %eax, %cr0
    ljmpl $0x08, $PHYS(trampoline_flat)
trampoline_gdt_pointer:
    .short boot_gdt_end - boot_gdt - 1
    .long PHYS(boot_gdt)
trampoline_end:

    .section .text.boot, "ax", @progbits
    .code32
trampoline_flat:
    mov $0x10, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    jmp ap_start32

    .section .data.boot, "aw", @progbits
    .balign 8
    .global boot_tsc, boot_efer, kernel_cr3, ap_count, ap_apic_ids, ap_stack_first, ap_stack_stride
boot_tsc: .quad 0               // at entry
kernel_cr3: .quad 0
ap_stack_first: .quad 0
ap_stack_stride: .quad 0
boot_efer: .long 0x100          // LME; NXE follows once the CPU is known to have it
ap_count: .long 0

    .section .bss.boot, "aw", @nobits
    .balign 4096
boot_pml4: .skip 4096
boot_pdpt: .skip 4096
boot_image_pdpt: .skip 4096
boot_pd: .skip 4 * 4096
    .global boot_stack_top
boot_stack: .skip 16384
boot_stack_top:
ap_apic_ids: .skip 64 * 4

    .section .note.GNU-stack, "", @progbits
