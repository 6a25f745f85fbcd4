// Reading a VMCB: raw 4 KiB, JSON, or the text that Linux KVM's dump_vmcb prints to the log.
#pragma once

#include "horos/model/svm/machine.hpp"

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace horos::explain {

// What is wrong with the input: names the file, the place and what is allowed.
class InputError : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

enum class Format { AUTO, RAW, JSON, KVM };

struct Input {
    std::unique_ptr<svm::Vmcb> vmcb; // 4 KiB, aligned
    model::svm::HostState host;
    std::string profile; // named by the input itself; may be empty
    Format format = Format::RAW;
    std::vector<std::string> notes; // what the input did not say
};

// `name` is for messages.
Input read_input(const std::string& bytes, const std::string& name, Format format);
Format parse_format(const std::string& text); // throws InputError

Input read_raw(const std::string& bytes, const std::string& name);
Input read_json(const std::string& text, const std::string& name);
Input read_kvm_dump(const std::string& text, const std::string& name);

} // namespace horos::explain
