// What ring 3 must not be able to do, or do only to itself: each attempt ends with the exception
// named here, in the thread that made it. rdi points to writable memory.
#define DE 0
#define DB 1
#define BP 3
#define UD 6
#define GP 13
#define PF 14
#define MF 16
#define SEL_USER_DATA 0x23
// QEMU before 9.1 pops far returns with supervisor accesses, which SMAP refuses: either will do.
#define GP_OR_PF (GP | PF << 8)

#define ATTEMPT(name, vector, ...)                                  \
    .section .rodata.names, "a"; 1: .asciz name;                    \
    .section .rodata.attempts, "a"; .quad 1b, 2f, vector;           \
    .text; 2: __VA_ARGS__; jmp survived

    .text
survived:                           // the attempt had no consequence: show it as another vector
    xor %ecx, %ecx
    div %ecx

    .section .rodata.attempts, "a"
    .balign 8
    .global attempts
attempts:

// Privileged instructions.
ATTEMPT("cli", GP, cli)
ATTEMPT("sti", GP, sti)
ATTEMPT("hlt", GP, hlt)
ATTEMPT("in", GP, in $0x80, %al)
ATTEMPT("out to COM1", GP, mov $0x3f8, %edx; out %al, %dx)
ATTEMPT("insb", GP, mov $0x3f8, %edx; insb)
ATTEMPT("rdmsr", GP, mov $0xc0000080, %ecx; rdmsr)
ATTEMPT("wrmsr", GP, mov $0xc0000080, %ecx; wrmsr)
ATTEMPT("read cr0", GP, mov %cr0, %rax)
ATTEMPT("read cr4", GP, mov %cr4, %rax)
ATTEMPT("write cr3", GP, mov %rax, %cr3)
ATTEMPT("write cr8", GP, mov %rax, %cr8)
ATTEMPT("write dr7", GP, mov %rax, %db7)
ATTEMPT("clts", GP, clts)
ATTEMPT("lmsw", GP, lmsw %ax)
ATTEMPT("invlpg", GP, invlpg (%rdi))
ATTEMPT("wbinvd", GP, wbinvd)
ATTEMPT("lgdt", GP, lgdt (%rdi))
ATTEMPT("lidt", GP, lidt (%rdi))
ATTEMPT("lldt", GP, lldt %ax)
ATTEMPT("ltr", GP, ltr %ax)
ATTEMPT("sgdt (UMIP)", GP, sgdt (%rdi))
ATTEMPT("sidt (UMIP)", GP, sidt (%rdi))
ATTEMPT("str (UMIP)", GP, str %ax)
ATTEMPT("smsw (UMIP)", GP, smsw %ax)
ATTEMPT("swapgs", GP, swapgs)
ATTEMPT("xsetbv", GP, xor %ecx, %ecx; mov $7, %eax; xor %edx, %edx; xsetbv)
ATTEMPT("rdpmc", GP, xor %ecx, %ecx; rdpmc)
ATTEMPT("vmrun", GP, vmrun)
ATTEMPT("vmload", GP, vmload)
ATTEMPT("clgi", GP, clgi)
ATTEMPT("stgi", GP, stgi)
ATTEMPT("vmmcall", UD, vmmcall)
ATTEMPT("sysenter", UD, sysenter)
ATTEMPT("rsm", UD, rsm)
ATTEMPT("monitor", UD, monitor)
ATTEMPT("wrfsbase", UD, wrfsbase %rax)
ATTEMPT("rdgsbase", UD, rdgsbase %rax)

// Memory that is not its own.
ATTEMPT("null pointer", PF, mov 0, %rax)
ATTEMPT("kernel text", PF, mov 0xffffffff80200000, %rax)
ATTEMPT("direct map", PF, mov $0xffff800000400000, %rax; mov (%rax), %rax)
ATTEMPT("frame table", PF, mov $0xffffff0000000000, %rax; mov %rax, (%rax))
ATTEMPT("per-CPU page", PF, mov $0xffffffffc000c000, %rax; mov (%rax), %rax)
ATTEMPT("local APIC", PF, mov $0xffffffffe0000000, %rax; mov %rax, (%rax))
ATTEMPT("jump to kernel text", PF, mov $0xffffffff80200000, %rax; jmp *%rax)
ATTEMPT("write to its code", PF, lea survived(%rip), %rax; mov %al, (%rax))
ATTEMPT("run its data", PF, jmp *%rdi)
ATTEMPT("jump to a non-canonical address", GP, mov $0x800000000000, %rax; jmp *%rax)
ATTEMPT("push to kernel memory", PF, mov $0xffffff0000001000, %rsp; push %rax)

// Segments and gates.
ATTEMPT("kernel stack segment", GP, mov $0x10, %eax; mov %eax, %ss)
ATTEMPT("kernel data segment", GP, mov $0x10, %eax; mov %eax, %ds)
ATTEMPT("iret to ring 0", GP_OR_PF, push $0x10; push %rsp; pushfq; push $8; lea 9f(%rip), %rax; push %rax; iretq; 9: nop)
ATTEMPT("far return to no segment", GP_OR_PF, push $0x1b; push $0; lretq)
ATTEMPT("int 0x80", GP, int $0x80)
ATTEMPT("int of a device vector", GP, int $0x30)
ATTEMPT("int of the timer vector", GP, int $0xf2)
ATTEMPT("int 2 (NMI)", GP, int $2)
ATTEMPT("int 8 (double fault)", GP, int $8)
ATTEMPT("int 18 (machine check)", GP, int $18)

// Flags and odd stacks on the way into the kernel.
ATTEMPT("int3", BP, int3)
ATTEMPT("int3 with a wild stack pointer", BP, mov $0xdead000000000000, %rsp; int3)
ATTEMPT("hypercall with a wild stack pointer", UD, mov $0xdead000000000000, %rsp; xor %eax, %eax; syscall; ud2)
ATTEMPT("hypercall on a kernel stack", UD, mov $0xffffffffc0005000, %rsp; xor %eax, %eax; syscall; ud2)
ATTEMPT("single step", DB, pushfq; orq $0x100, (%rsp); popfq; nop; nop)
ATTEMPT("single step into a hypercall", DB, pushfq; orq $0x100, (%rsp); popfq; xor %eax, %eax; syscall; nop)
ATTEMPT("hypercall with AC and DF set", UD, pushfq; orq $0x40400, (%rsp); popfq; mov $1, %eax; syscall; pushfq; pop %rax; and $0x40400, %eax; cmp $0x40400, %eax; jne survived; ud2)
ATTEMPT("hypercall with NT set", GP, pushfq; orq $0x4000, (%rsp); popfq; xor %eax, %eax; syscall; iretq)
ATTEMPT("IOPL by popf", GP, pushfq; orq $0x3000, (%rsp); popfq; cli)
ATTEMPT("divide by zero", DE, xor %ecx, %ecx; xor %edx, %edx; mov $1, %eax; div %ecx)
ATTEMPT("x87 divide by zero", MF, fninit; push $0x300; fldcw (%rsp); fldz; fld1; fdiv %st(1); fwait)

// Hypercalls with numbers that do not exist: error 1, nothing else changed.
ATTEMPT("hypercall number -1", UD, mov $-1, %rax; mov %rsp, %rbx; syscall; cmp $1, %rax; jne survived; cmp %rsp, %rbx; jne survived; ud2)
ATTEMPT("hypercall number 2^32", UD, mov $0x100000000, %rax; syscall; cmp $1, %rax; jne survived; ud2)
ATTEMPT("hypercall leaves no kernel values", UD, mov $9999, %eax; syscall; or %rdx, %rdi; or %rsi, %rdi; or %r8, %rdi; or %r9, %rdi; or %r10, %rdi; test %rdi, %rdi; jnz survived; ud2)
ATTEMPT("hypercall keeps callee-saved registers", UD, mov $11, %ebx; mov $12, %ebp; mov $13, %r12; mov $14, %r13; mov $15, %r14; mov $16, %r15; xor %eax, %eax; syscall; add %rbx, %rbp; add %r12, %rbp; add %r13, %rbp; add %r14, %rbp; add %r15, %rbp; cmp $81, %rbp; jne survived; ud2)

// Selectors: allowed ones may be loaded, and another thread must not see them (the next attempt).
ATTEMPT("load user selectors", UD, mov $SEL_USER_DATA, %eax; mov %eax, %ds; mov %eax, %es; mov %eax, %fs; mov %eax, %gs; xor %eax, %eax; syscall; ud2)
ATTEMPT("selectors of the thread before", UD, mov %ds, %eax; mov %es, %ecx; or %ecx, %eax; mov %fs, %ecx; or %ecx, %eax; mov %gs, %ecx; or %ecx, %eax; jnz survived; ud2)
ATTEMPT("GS base after loading GS", PF, xor %eax, %eax; mov %eax, %gs; mov %gs:0, %rax)

// FPU registers of the thread before (rt programs do not use them): all must be clear.
ATTEMPT("fill vector registers", UD, mov $-1, %rax; movq %rax, %xmm0; movq %rax, %xmm15; fninit; fld1; ud2)
    .section .rodata.attempts, "a"
    .quad 0, 0, 0
    .section .note.GNU-stack, "", @progbits
