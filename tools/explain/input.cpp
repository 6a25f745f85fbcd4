#include "input.hpp"

#include <algorithm>
#include <cstring>
#include <fmt/core.h>

namespace horos::explain {

namespace {

bool looks_like_text(const std::string& bytes) {
    return std::all_of(bytes.begin(), bytes.end(), [](char c) {
        const auto u = static_cast<unsigned char>(c);
        return u >= 0x20 || c == '\n' || c == '\r' || c == '\t' || c == '\x1b';
    });
}

Format detect(const std::string& bytes, const std::string& name) {
    if (bytes.empty()) {
        throw InputError(name + ": the file is empty");
    }
    if (bytes.size() == svm::VMCB_BYTES && !looks_like_text(bytes)) {
        return Format::RAW;
    }
    const size_t first = bytes.find_first_not_of(" \t\r\n");
    if (first != std::string::npos && bytes[first] == '{') {
        return Format::JSON;
    }
    if (bytes.find("VMCB Control Area") != std::string::npos ||
        bytes.find("VMCB State Save Area") != std::string::npos) {
        return Format::KVM;
    }
    throw InputError(fmt::format("{}: neither a raw VMCB ({} bytes; this is {}), nor JSON (starts "
                                 "with '{{'), nor a KVM dump "
                                 "(has the line \"VMCB Control Area:\" or "
                                 "\"*** Guest State ***\")",
                                 name, svm::VMCB_BYTES, bytes.size()));
}

} // namespace

Format parse_format(const std::string& text) {
    if (text == "auto") {
        return Format::AUTO;
    }
    if (text == "raw") {
        return Format::RAW;
    }
    if (text == "json") {
        return Format::JSON;
    }
    if (text == "kvm") {
        return Format::KVM;
    }
    throw InputError("--format: '" + text + "' is none of auto, raw, json, kvm");
}

Input read_raw(const std::string& bytes, const std::string& name) {
    if (bytes.size() != svm::VMCB_BYTES) {
        throw InputError(fmt::format("{}: a raw VMCB has {} bytes, this file has {}", name,
                                     svm::VMCB_BYTES, bytes.size()));
    }
    Input input;
    input.vmcb = std::make_unique<svm::Vmcb>();
    std::memcpy(static_cast<void*>(input.vmcb.get()), bytes.data(), svm::VMCB_BYTES);
    input.format = Format::RAW;
    return input;
}

Input read_input(const std::string& bytes, const std::string& name, Format format) {
    if (format == Format::AUTO) {
        format = detect(bytes, name);
    }
    switch (format) {
    case Format::JSON:
        return read_json(bytes, name);
    case Format::KVM:
        return read_kvm_dump(bytes, name);
    default:
        return read_raw(bytes, name);
    }
}

} // namespace horos::explain
