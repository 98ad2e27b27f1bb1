# SPDX-License-Identifier: Apache-2.0
#
# Completion of the zeropull command for bash. Commands and options come from its own help, images from the store.

_zeropull_options() {
    "$1" ${2:+"$2"} --help 2>/dev/null | grep -oE -- '^  (-[a-zA-Z], |    )--[a-z-]+' | grep -oE -- '--[a-z-]+'
}

_zeropull_commands() {
    "$1" --help 2>/dev/null | sed -n '/^Commands:/,/^$/s/^  \([a-z]*\) .*/\1/p'
}

# Names as a person types them, without docker://. Quiet where there is no store.
_zeropull_images() {
    "$1" "${@:2}" list 2>/dev/null | sed -e 1d -e 's/ .*//' -e 's,^docker://,,'
}

_zeropull() {
    local current previous words cword command="" position=0 store=() i
    _get_comp_words_by_ref -n : -c current -p previous -w words -i cword || return
    for ((i = 1; i < cword; i++)); do
        case ${words[i]} in
        --store) store=(--store "${words[++i]}") ;;
        -*) ;;
        *) if [[ $command ]]; then ((position++)); else command=${words[i]}; fi ;;
        esac
    done
    case $previous in
    --store | --hosts-dir) compopt -o dirnames; return ;;
    --auth-file | --ca-file | --result-file | --passphrase-file | --sign-key | --key | --policy | --address) compopt -o default; return ;;
    --tls-verify) COMPREPLY=($(compgen -W "true false" -- "$current")); return ;;
    esac
    if [[ $current == -* ]]; then
        COMPREPLY=($(compgen -W "$(_zeropull_options "${words[0]}" "$command")" -- "$current"))
    elif [[ ! $command || ($command == help && $position == 0) ]]; then
        COMPREPLY=($(compgen -W "$(_zeropull_commands "${words[0]}")" -- "$current"))
    elif [[ $command == key && $position == 0 ]]; then
        COMPREPLY=($(compgen -W "generate show" -- "$current"))
    elif [[ $command == @(verify|remove) || ($command == @(inspect|ls|cat|mount|export|push) && $position == 0) ]]; then
        COMPREPLY=($(compgen -W "$(_zeropull_images "${words[0]}" "${store[@]}")" -- "$current"))
        __ltrim_colon_completions "$current"
    else
        compopt -o default
    fi
}
complete -F _zeropull zeropull
