/* Numbers that entry.S and C++ share; cpu.hpp asserts that they agree with the structures. */
#pragma once

/* PerCpu, through GS */
#define PC_SELF 0
#define PC_USER_RSP 8
#define PC_KERNEL_RSP 16
#define PC_REGS 24
#define PC_RESULTS 32
#define PC_WINDOW_VECTOR 40
#define PC_FLUSH_PENDING 48
#define PC_CORE 52
#define PC_CR3 56
#define PC_FS_BASE 64
#define PC_FPU_LIVE 72
#define PC_CORE_STATE 80
#define PC_HOST_STATE 88
#define PC_HOST_STATE_AREA 96

/* horos::core::Registers */
#define RG_RAX 0
#define RG_RCX 8
#define RG_RDX 16
#define RG_RBX 24
#define RG_RSP 32
#define RG_RBP 40
#define RG_RSI 48
#define RG_RDI 56
#define RG_R8 64
#define RG_R9 72
#define RG_R10 80
#define RG_R11 88
#define RG_R12 96
#define RG_R13 104
#define RG_R14 112
#define RG_R15 120
#define RG_RIP 128
#define RG_RFLAGS 136
#define RG_FS_BASE 168
#define RG_FULL 176

/* horos::core::Thread */
#define TH_TABLES 240

#define CALL_NUMBER 39
#define REPLY_RECEIVE_NUMBER 42

/* svm::Vmcb */
#define VMCB_FS_BASE 0x448

#define RESULT_VALUES 0x100
#define RESULT_VALUE_SHIFT 32
#define RESULT_SWITCH 0x200

#define SEL_KERNEL_CODE 0x08
#define SEL_KERNEL_DATA 0x10
#define SEL_USER_DATA 0x23
#define SEL_USER_CODE 0x2b
#define SEL_TSS 0x30
