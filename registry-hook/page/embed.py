# SPDX-License-Identifier: Apache-2.0
"""Makes a C file of files: embed.py NAME=FILE…; each becomes hook_page_NAME and hook_page_NAME_size."""
import sys

print('#include "registry-hook/page/page.h"\n')
for argument in sys.argv[1:]:
    name, path = argument.split("=", 1)
    with open(path, "rb") as file:
        data = file.read()
    print(f"const size_t hook_page_{name}_size = {len(data)};")
    print(f"const unsigned char hook_page_{name}[] = {{")
    for start in range(0, len(data), 20):
        print("        " + " ".join(f"{byte}," for byte in data[start : start + 20]))
    print("};\n")
