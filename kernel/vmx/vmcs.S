// The instructions of VMX, one function each. Their results: 0 VMsucceed, 1 VMfailInvalid (no
// current VMCS), 2 VMfailValid (its VM-instruction error field says more). SDM vol. 3C §30.2.
    .macro function name
    .globl \name
    .type \name, @function
\name:
    .endm
    .macro result
    mov $0, %eax
    jc 91f
    jz 92f
    ret
91: mov $1, %eax
    ret
92: mov $2, %eax
    ret
    .endm

#define HOST_RSP 0x6c14

    .section .vmxtext, "ax", @progbits

// u32 vmx_on(u64 region), vmx_clear(u64 vmcs), vmx_load(u64 vmcs): physical addresses
function vmx_on
    mov %rdi, -8(%rsp)
    vmxon -8(%rsp)
    result
function vmx_clear
    mov %rdi, -8(%rsp)
    vmclear -8(%rsp)
    result
function vmx_load
    mov %rdi, -8(%rsp)
    vmptrld -8(%rsp)
    result
// u32 vmx_off()
function vmx_off
    vmxoff
    result
// u32 vmx_invept(u64 type, u64 eptp), vmx_invvpid(u64 type, u64 vpid)
function vmx_invept
    mov %rsi, -16(%rsp)
    movq $0, -8(%rsp)
    invept -16(%rsp), %rdi
    result
function vmx_invvpid
    mov %rsi, -16(%rsp)
    movq $0, -8(%rsp)
    invvpid -16(%rsp), %rdi
    result

// u64 vmx_read(u32 field), void vmx_write(u32 field, u64 value): of the current VMCS. The kernel
// names only fields that the processor has; a failure stops it.
function vmx_read
    mov %edi, %edi
    vmread %rdi, %rax
    jbe vmx_access_failed
    ret
function vmx_write
    mov %edi, %edi
    vmwrite %rsi, %rdi
    jbe vmx_access_failed
    ret

// u32 vmx_run(u64* registers, u32 launched): one entry and exit. `registers` are the guest's in
// encoding order; RSP is in the VMCS. Interrupts are off; in the guest they cause exits.
function vmx_run
    push %rbx
    push %rbp
    push %r12
    push %r13
    push %r14
    push %r15
    push %rdi
    mov $HOST_RSP, %eax
    vmwrite %rsp, %rax
    jbe 3f
    test %esi, %esi             // the flags outlive the loads
    mov (%rdi), %rax
    mov 8(%rdi), %rcx
    mov 16(%rdi), %rdx
    mov 24(%rdi), %rbx
    mov 40(%rdi), %rbp
    mov 48(%rdi), %rsi
    mov 64(%rdi), %r8
    mov 72(%rdi), %r9
    mov 80(%rdi), %r10
    mov 88(%rdi), %r11
    mov 96(%rdi), %r12
    mov 104(%rdi), %r13
    mov 112(%rdi), %r14
    mov 120(%rdi), %r15
    mov 56(%rdi), %rdi
    jz 1f
    vmresume
    jmp 3f
1:  vmlaunch
3:  mov $1, %eax                // only a failed entry comes here
    jc 2f
    mov $2, %eax
2:  add $8, %rsp
    jmp 4f

    .globl vmx_exit_point
vmx_exit_point:                 // HOST_RIP
    xchg %rdi, (%rsp)
    mov %rax, (%rdi)
    mov %rcx, 8(%rdi)
    mov %rdx, 16(%rdi)
    mov %rbx, 24(%rdi)
    mov %rbp, 40(%rdi)
    mov %rsi, 48(%rdi)
    mov %r8, 64(%rdi)
    mov %r9, 72(%rdi)
    mov %r10, 80(%rdi)
    mov %r11, 88(%rdi)
    mov %r12, 96(%rdi)
    mov %r13, 104(%rdi)
    mov %r14, 112(%rdi)
    mov %r15, 120(%rdi)
    pop %rax
    mov %rax, 56(%rdi)
    xor %eax, %eax
4:  pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbp
    pop %rbx
    ret
    .section .note.GNU-stack, "", @progbits
