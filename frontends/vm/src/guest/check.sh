# placeholder until written below
exit 0
