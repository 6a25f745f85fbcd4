// The instructions of VMX, one function each. Their results: 0 VMsucceed, else VMfail (SDM vol. 3C
// §30.2): the VM-instruction error of the current VMCS, or 99 without one.
#include "kernel/arch/guest_registers.h"

    .macro function name
    .globl \name
\name:
    .endm
    .macro result
    mov $0, %eax
    jbe vmx_failed
    ret
    .endm

#define HOST_RSP 0x6c14
#define INSTRUCTION_ERROR 0x4400

    .section .vmxtext, "ax", @progbits

vmx_failed:                     // the flags are those of the instruction
    mov $99, %eax
    jc 1f
    mov $INSTRUCTION_ERROR, %ecx
    vmread %rcx, %rax
1:  ret

// u32 vmx_on(u64 region), vmx_clear(u64 vmcs), vmx_load(u64 vmcs): physical addresses
    .macro of_region name, instruction
function \name
    mov %rdi, -8(%rsp)
    \instruction -8(%rsp)
    result
    .endm
    of_region vmx_on, vmxon
    of_region vmx_clear, vmclear
    of_region vmx_load, vmptrld

// u32 vmx_invept(u64 type, u64 eptp), vmx_invvpid(u64 type, u64 vpid)
    .macro invalidation name, instruction
function \name
    mov %rsi, -16(%rsp)
    movq $0, -8(%rsp)
    \instruction -16(%rsp), %rdi
    result
    .endm
    invalidation vmx_invept, invept
    invalidation vmx_invvpid, invvpid

// u32 vmx_off()
function vmx_off
    vmxoff
    result

// u64 vmx_read(u32 field), void vmx_write(u32 field, u64 value): of the current VMCS. The kernel
// names only fields that the processor has; a failure stops it.
function vmx_read
    mov %edi, %edi
    vmread %rdi, %rax
    jbe 1f
    ret
function vmx_write
    mov %edi, %edi
    vmwrite %rsi, %rdi
    jbe 1f
    ret
1:  call vmx_failed
    mov %eax, %edi
    jmp vmx_access_failed

// u32 vmx_run(u64* registers, u32 launched): one entry and exit. `registers` are the guest's in
// encoding order; RSP is in the VMCS. Interrupts are off; in the guest they cause exits.
function vmx_run
    .irp register, rbx, rbp, r12, r13, r14, r15, rdi
    push %\register
    .endr
    mov $HOST_RSP, %eax
    vmwrite %rsp, %rax
    jbe 3f
    test %esi, %esi             // the flags outlive the loads
    mov (%rdi), %rax
    mov 104(%rdi), %r13
    load_guest_registers %rdi
    mov 56(%rdi), %rdi
    jz 1f
    vmresume
    jmp 3f
1:  vmlaunch
3:  mov $1, %eax                // only a failed entry comes here
    add $8, %rsp
    jmp 4f

    .globl vmx_exit_point
vmx_exit_point:                 // HOST_RIP
    xchg %rdi, (%rsp)
    mov %rax, (%rdi)
    mov %r13, 104(%rdi)
    store_guest_registers %rdi
    pop %rax
    mov %rax, 56(%rdi)
    xor %eax, %eax
4:  .irp register, r15, r14, r13, r12, rbp, rbx
    pop %\register
    .endr
    ret
    .section .note.GNU-stack, "", @progbits
