// What the prober's own virtual machine tries: 32-bit protected mode, no paging, ring 0 unless it
// is started otherwise, no interrupt table. Code that gets past its attempt writes to port 0xf4,
// which tells the prober that nothing stopped it.
    .macro attempt name
    .pushsection .rodata.guest_names, "a"
.Lname_\name: .asciz "guest-\name"
    .popsection
    .pushsection .rodata.guest_table, "a"
    .quad .Lname_\name, .Lguest_\name, .Lguest_\name\()_end
    .popsection
.Lguest_\name:
    .endm
    .macro done name
    outb %al, $0xf4
    hlt
.Lguest_\name\()_end:
    .endm

    .section .rodata.guest_table, "a"
    .balign 8
    .globl guest_codes_begin
guest_codes_begin:
    .section .rodata.guest, "a"
    .code32
    attempt vmrun
    movl $0x2000, %eax
    vmrun %eax
    done vmrun
    attempt vmload
    movl $0x2000, %eax
    vmload %eax
    done vmload
    attempt vmsave
    movl $0x2000, %eax
    vmsave %eax
    done vmsave
    attempt clgi
    clgi
    done clgi
    attempt stgi
    stgi
    done stgi
    attempt skinit
    movl $0x10000, %eax
    skinit %eax
    done skinit
    attempt invlpga
    xorl %eax, %eax
    xorl %ecx, %ecx
    invlpga %eax, %ecx
    done invlpga
    attempt vmmcall
    vmmcall
    done vmmcall
    attempt vmcall
    vmcall
    done vmcall
    attempt hlt
    cli
    hlt
    done hlt
    attempt invd
    invd
    done invd
    attempt wbinvd
    wbinvd
    done wbinvd
    attempt monitor
    movl $0x2000, %eax
    xorl %ecx, %ecx
    xorl %edx, %edx
    monitor
    done monitor
    attempt mwait
    xorl %eax, %eax
    xorl %ecx, %ecx
    mwait
    done mwait
    attempt rdpmc
    xorl %ecx, %ecx
    rdpmc
    done rdpmc
    attempt xsetbv
    movl %cr4, %eax
    orl $0x40000, %eax
    movl %eax, %cr4
    xorl %ecx, %ecx
    movl $1, %eax
    xorl %edx, %edx
    xsetbv
    done xsetbv
    attempt rsm
    rsm
    done rsm
    attempt in_serial
    movw $0x3f8, %dx
    inb %dx, %al
    done in_serial
    attempt in_cmos
    inb $0x71, %al
    done in_cmos
    attempt out_reset
    movw $0xcf9, %dx
    movb $6, %al
    outb %al, %dx
    done out_reset
    attempt out_pic
    movb $0xff, %al
    outb %al, $0x21
    done out_pic
    attempt out_pci
    movw $0xcf8, %dx
    movl $0x80000000, %eax
    outl %eax, %dx
    done out_pci
    attempt string_out
    movl $0x1000, %esi
    movw $0x3f8, %dx
    movl $64, %ecx
    rep outsb
    done string_out
    attempt string_in
    movl $0x2000, %edi
    movw $0x3f8, %dx
    movl $64, %ecx
    rep insb
    done string_in

    .macro read_msr name number
    attempt \name
    movl $\number, %ecx
    rdmsr
    done \name
    .endm
    .macro write_msr name number
    attempt \name
    movl $\number, %ecx
    xorl %eax, %eax
    xorl %edx, %edx
    wrmsr
    done \name
    .endm
    read_msr rdmsr_efer 0xc0000080
    read_msr rdmsr_apic_base 0x1b
    read_msr rdmsr_hsave 0xc0010117
    read_msr rdmsr_high 0xc0012000
    read_msr rdmsr_x2apic 0x802
    write_msr wrmsr_efer 0xc0000080
    write_msr wrmsr_vm_cr 0xc0010114
    write_msr wrmsr_hsave 0xc0010117
    write_msr wrmsr_apic_base 0x1b
    write_msr wrmsr_tsc 0x10
    write_msr wrmsr_mtrr 0x2ff
    write_msr wrmsr_smm_base 0xc0010111
    write_msr wrmsr_x2apic_icr 0x830
    write_msr wrmsr_debugctl 0x1d9

    attempt cr4_reserved
    movl $0x80000000, %eax
    movl %eax, %cr4
    done cr4_reserved
    attempt paging_without_tables
    movl $0x3000, %eax
    movl %eax, %cr3
    movl %cr0, %eax
    orl $0x80000000, %eax
    movl %eax, %cr0
    done paging_without_tables
    attempt page_tables_outside
    movl $0x7ff00000, %eax
    movl %eax, %cr3
    movl %cr0, %eax
    orl $0x80000000, %eax
    movl %eax, %cr0
    done page_tables_outside

    attempt read_outside
    movl 0x100000, %eax
    done read_outside
    attempt write_outside
    movl %eax, 0x5000
    done write_outside
    attempt read_top
    movl 0xfffffffc, %eax
    done read_top
    attempt write_apic
    movl $0x000c4500, 0xfee00300
    done write_apic
    attempt write_ioapic
    movl $0, 0xfec00000
    done write_ioapic
    attempt write_hpet
    movl $0, 0xfed00000
    done write_hpet
    attempt write_read_only
    movl $1, 0x4000
    done write_read_only
    attempt execute_outside
    movl $0x200000, %eax
    jmp *%eax
    done execute_outside
    attempt push_outside
    movl $0x800000, %esp
    pushl %eax
    done push_outside

    attempt single_step
    pushfl
    orl $0x100, (%esp)
    popfl
    nop
    done single_step
    // #DB whose delivery would raise #DB again and again, were it not intercepted.
    attempt debug_loop
    pushfl
    orl $0x100, (%esp)
    popfl
1:  jmp 1b
    done debug_loop
    // Started in ring 3 with CR0.AM: each unaligned access is an #AC.
    attempt alignment
    pushfl
    orl $0x40000, (%esp)
    popfl
    movl 0x2001, %eax
    done alignment
    attempt triple_fault
    ud2
    done triple_fault
    attempt divide
    xorl %ecx, %ecx
    divl %ecx
    done divide
    attempt int_kernel_vector
    int $0xf2
    done int_kernel_vector
    attempt far_jump
    ljmp $0x1234, $0x1000
    done far_jump
    attempt runaway
    cli
1:  jmp 1b
    done runaway
    attempt runaway_interruptible
    sti
1:  jmp 1b
    done runaway_interruptible
    attempt runaway_pause
1:  pause
    jmp 1b
    done runaway_pause
    attempt runaway_string
    cld
1:  movl $0x2000, %esi
    movl $0x3000, %edi
    movl $0x400, %ecx
    rep movsl
    jmp 1b
    done runaway_string
    // A handler for #UD at 0x1040 that is itself #UD, with the stack taken back: never a triple
    // fault, never an exit of its own.
    attempt exception_loop
    movl $0x00081040, 0x2030  // gate 6: selector 8, offset 0x1040
    movl $0x00008e00, 0x2034
    movl $0x200007ff, 0x2f00  // limit, and the lower half of the base
    movl $0, 0x2f04
    lidt 0x2f00
    jmp 1f
    .org .Lguest_exception_loop + 0x40
1:  movl $0x3000, %esp
    ud2
    done exception_loop
    .section .rodata.guest_table, "a"
    .globl guest_codes_end
guest_codes_end:
    .section .note.GNU-stack, "", @progbits
