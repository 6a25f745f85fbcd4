#include "spec/calls.hpp"

namespace horos::spec {

void answer_later(Frame thread, Error error, const Values& values) {
    Registers& r = threads[thread].regs;
    r.gpr[0] = static_cast<u64>(error); // rax
    r.gpr[2] = values.v[0];             // rdx
    r.gpr[7] = values.v[1];             // rdi
    r.gpr[6] = values.v[2];             // rsi
    r.gpr[8] = values.v[3];             // r8
    r.gpr[9] = values.v[4];             // r9
    r.gpr[10] = values.v[5];            // r10
    r.full = 0;
}

u64 deliver(const Caller& me, const Answer& answer, bool blocking) {
    switch (answer.ending) {
    case Ending::blocked:
        return result_switch;
    case Ending::replaced:
        return result_switch | result_direct | u64{answer.next} << 32;
    case Ending::in_guest:
        return result_enters_guest;
    case Ending::answered:
        break;
    }
    // A call that cannot block lets a more urgent thread go first that it woke.
    if (!blocking && cores[me.core].reschedule != 0) {
        answer_later(me.thread, answer.error, answer.values);
        return result_switch;
    }
    if (!answer.has_values)
        return static_cast<u64>(answer.error) | u64{answer.value} << result_value_shift;
    results[me.core] = answer.values;
    return static_cast<u64>(answer.error) | result_values;
}

} // namespace horos::spec
