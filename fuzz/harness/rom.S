// A boot ROM that holds the harness: at reset it goes to flat 32-bit mode, copies the image to
// LOAD_AT and enters it. Linked so that it ends at 4 GiB; boots in Bochs in a tenth of a second.
#ifndef LOAD_AT
#define LOAD_AT 0x100000
#endif
    .section .text
    .global rom_start
rom_start:
image:
    .incbin HARNESS_BIN
image_end:
    .org ROM_SIZE - 0x1000
    .code16
real:
    cli
    cld
    inb $0x92, %al
    orb $2, %al
    andb $0xfe, %al
    outb %al, $0x92             // A20
    // cs.base is 0xffff0000 until the first far jump
    lgdtl %cs:(gdt_pointer - rom_start - (ROM_SIZE - 0x10000))
    mov %cr0, %eax
    or $1, %eax
    mov %eax, %cr0
    ljmpl $8, $protected
    .code32
protected:
    mov $0x10, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    mov $image, %esi
    mov $LOAD_AT, %edi
    mov $(image_end - image + 3) / 4, %ecx
    rep movsl
    mov $LOAD_AT, %eax
    jmp *%eax
    .balign 8
gdt:
    .quad 0
    .quad 0x00cf9b000000ffff
    .quad 0x00cf93000000ffff
gdt_pointer:
    .word 23
    .long gdt
    .org ROM_SIZE - 0x10
    .code16
    jmp real
    .org ROM_SIZE
