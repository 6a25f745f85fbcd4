/* A guest's registers and their places in the state page, in the order of their encoding, for both
   backends. RAX, RDI, RSP and R13 are the caller's affair. */
#pragma once

    .macro load_guest_registers base
    mov 8(\base), %rcx
    mov 16(\base), %rdx
    mov 24(\base), %rbx
    mov 40(\base), %rbp
    mov 48(\base), %rsi
    mov 64(\base), %r8
    mov 72(\base), %r9
    mov 80(\base), %r10
    mov 88(\base), %r11
    mov 96(\base), %r12
    mov 112(\base), %r14
    mov 120(\base), %r15
    .endm

    .macro store_guest_registers base
    mov %rcx, 8(\base)
    mov %rdx, 16(\base)
    mov %rbx, 24(\base)
    mov %rbp, 40(\base)
    mov %rsi, 48(\base)
    mov %r8, 64(\base)
    mov %r9, 72(\base)
    mov %r10, 80(\base)
    mov %r11, 88(\base)
    mov %r12, 96(\base)
    mov %r14, 112(\base)
    mov %r15, 120(\base)
    .endm
