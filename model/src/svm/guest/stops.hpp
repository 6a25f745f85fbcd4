// The ways in which the execution of a guest instruction can end early.
#pragma once

#include "horos/model/svm/outcome.hpp"

#include <string>

namespace horos::model::svm::guest {

// An exception of the guest, before the intercept check.
struct Exception {
    enum class Kind : uint8_t {
        FAULT,       // RIP stays at the instruction
        TRAP,        // RIP is already past it
        INSTRUCTION, // INT3, INTO, BOUND: nRIP is saved, RIP of an intercept is the instruction's
    };
    x86::Vector vector;
    bool has_error = false;
    uint32_t error = 0;
    Kind kind = Kind::FAULT;
    uint64_t address = 0; // #PF
    uint32_t error_known = 0xffffffff;
    bool instruction_fetch = false; // #PF: no instruction bytes are saved
};
inline Exception fault(x86::Vector vector) { return {vector}; }
inline Exception fault(x86::Vector vector, uint32_t error) { return {vector, true, error}; }

// #VMEXIT.
struct Exit {
    ExitCode code;
    Masked info1{0, 0}; // undefined unless said
    Masked info2{0, 0};
    bool next_rip = false;   // an instruction intercept: nRIP is saved
    bool data_fault = false; // #PF or NPF of a data access: instruction bytes are saved
};

constexpr bool is_exception(ExitCode code) {
    return static_cast<uint64_t>(code) - static_cast<uint64_t>(ExitCode::EXCEPTION_0) < 32;
}

// The guest waits, or the processor shuts down.
struct Stop {
    OutcomeKind kind;
};

// VMRUN fails after all, where a deviation says so: VMEXIT_INVALID.
struct Refused {};

// The manual leaves it open, or the model does not cover it.
struct Open {
    std::string why;
};

} // namespace horos::model::svm::guest
