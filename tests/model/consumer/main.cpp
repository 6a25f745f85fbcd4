// Uses the installed package as anybody would: predict, name a broken rule, mend it.
#include <horos/model/svm/predict.hpp>
#include <horos/model/svm/smt.hpp>

#include <cstdio>
#include <memory>

int main() {
    namespace model = horos::model::svm;
    const model::Profile& profile = model::builtin_profile("qemu-7.2-max");
    model::RuleState state = model::default_state(profile);
    state[model::RuleField::CR0] |= horos::x86::cr0::NW;

    auto vmcb = std::make_unique<horos::svm::Vmcb>();
    model::Machine machine;
    model::apply(state, *vmcb, machine.host);
    const model::FlatMemory memory(0, {});
    machine.profile = &profile;
    machine.vmcb = vmcb.get();
    machine.memory = &memory;
    const model::Prediction prediction = model::predict(machine);
    for (const model::RuleInfo& rule : model::all_rules()) {
        if (prediction.broken[static_cast<size_t>(rule.id)]) {
            std::printf("%.*s: %.*s\n", static_cast<int>(rule.name.size()), rule.name.data(),
                        static_cast<int>(rule.repair.size()), rule.repair.data());
        }
    }
    const model::Repair repair = model::smallest_repair(state, profile);
    std::printf("%s, %u bit\n", std::string(model::kind_name(prediction.allowed[0].kind)).c_str(),
                repair.bits);
    return 0;
}
