// What the guest of this test does, page code_address: 32-bit protected mode, no paging. Handlers
// tell their vector by a port of that number.
    .section .rodata.guest, "a"
    .code32
    .macro part name
    .balign 16
    .globl guest_\name
guest_\name:
    .endm

    .globl guest_begin, guest_end
guest_begin:
    part idle                   // takes what comes
1:  jmp 1b

    part sti                    // interrupts are off for a while
    cli
    mov $1000, %ecx
1:  loop 1b
    sti
    nop
2:  jmp 2b

    part control                // CR0 and CR4 as the guest sees them, before and after a change
    mov %cr0, %eax
    mov %cr4, %ebx
    mov %eax, %ecx
    or $8, %ecx                 // TS
    mov %ecx, %cr0
    mov %cr0, %ecx
    mov %ebx, %edx
    or $0x10, %edx              // PSE
    mov %edx, %cr4
    mov %cr4, %edx
    out %al, $0x70
    hlt

    part msrs                   // LSTAR and PAT: read, then written
    mov $0xc0000082, %ecx
    rdmsr
    mov %eax, %ebx
    mov $0x12345678, %eax
    mov $0x00001234, %edx
    wrmsr
    mov $0x277, %ecx
    rdmsr
    mov %eax, %esi
    mov $0x06060606, %eax
    mov %eax, %edx
    wrmsr
    out %al, $0x71
    hlt

    part debug                  // breakpoint addresses are the guest's own
    mov $0x1234, %eax
    mov %eax, %dr0
    mov %dr0, %ebx
    out %al, $0x72
    hlt

    part x2apic                 // ID and TPR read, TPR written, an interrupt to itself
    mov $0x802, %ecx
    rdmsr
    mov %eax, %ebx
    mov $0x808, %ecx
    mov $0x20, %eax
    xor %edx, %edx
    wrmsr
    rdmsr
    mov %eax, %esi
    xor %edi, %edi
    sti
    nop
    mov $0x83f, %ecx
    mov $82, %eax
    wrmsr
    nop
    out %al, $0x73
    mov $0x830, %ecx            // ICR: for the monitor
    wrmsr
    hlt

    part block                  // both ends of the first 2 MiB from 2 MiB on
    movl $0x600df00d, 0x200000
    mov 0x3ffffc, %ebx
    out %al, $0x75
    mov 0x200000, %esi
    hlt

    part apic                   // the same in memory, and a register that has an effect
    mov 0x7020, %ebx
    movl $0x30, 0x7080
    mov 0x7080, %esi
    xor %edi, %edi
    sti
    nop
    out %al, $0x74
    movl $0x1ff, 0x70f0
    mov 0x7390, %eax            // current count
    hlt

    part apic_tpr               // TPR above an interrupt, then below it, then other registers
    movl $0x65, 0x7080
    mov 0x7080, %esi
    sti
    nop
    out %al, $0x76
    mov 0x7080, %edi
    movl $0x42, 0x7080
    nop
    mov 0x7020, %ebx            // 6 bytes: ID
    movl $0, 0x70b0             // 10 bytes: EOI
    hlt

    .balign 16
    .globl guest_handler_82, guest_handler_83
guest_handler_82:               // EOI in x2APIC mode
    inc %edi
    push %ecx
    mov $0x80b, %ecx
    xor %eax, %eax
    xor %edx, %edx
    wrmsr
    pop %ecx
    iret
    .balign 16
guest_handler_83:               // EOI in memory
    inc %edi
    movl $0, 0x70b0
    iret

    .macro handler vector, bytes=0
    .balign 16
    .globl guest_handler_\vector
guest_handler_\vector:
    out %al, $\vector
    .if \bytes
    add $\bytes, %esp
    .endif
    iret
    .endm
    handler 2
    handler 6
    handler 13, 4
    handler 81
guest_end:
    .section .note.GNU-stack, "", @progbits
